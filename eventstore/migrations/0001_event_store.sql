-- The event store: tables, roles, row-level security, and the functions through which everything is appended and read.

-- Roles belong to the whole cluster, so another database may have made them already.
DO $$
DECLARE
    wanted text;
BEGIN
    FOREACH wanted IN ARRAY ARRAY['erp_app', 'erp_reader', 'erp_auditor'] LOOP
        IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = wanted) THEN
            EXECUTE format('CREATE ROLE %I LOGIN', wanted);
        END IF;
    END LOOP;
EXCEPTION WHEN duplicate_object OR unique_violation THEN NULL;
END
$$;

GRANT USAGE ON SCHEMA erp TO erp_app, erp_reader, erp_auditor;
GRANT SELECT ON erp.migrations TO erp_app, erp_reader;

CREATE TABLE erp.tenants (
    tenant uuid PRIMARY KEY,
    name text NOT NULL UNIQUE CHECK (name ~ '^[A-Za-z0-9][A-Za-z0-9 ._-]{0,63}$'),
    base_currency text NOT NULL CHECK (base_currency ~ '^[A-Z]{3}$'),
    time_zone text NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now()
);

-- No counters: last position, version, tenant_seq and number are read from the ends of these indexes.
CREATE TABLE erp.events (
    position bigint PRIMARY KEY CHECK (position > 0),
    tenant_seq bigint NOT NULL,
    version bigint NOT NULL,
    number bigint,
    recorded_at timestamptz NOT NULL,
    event_id uuid NOT NULL UNIQUE,
    tenant uuid NOT NULL REFERENCES erp.tenants,
    stream_id uuid NOT NULL,
    schema_version integer NOT NULL,
    stream_type text NOT NULL,
    type text NOT NULL,
    series text CHECK (series <> ''),
    encoding text NOT NULL,
    data bytea NOT NULL,
    metadata bytea NOT NULL,
    leaf_hash bytea NOT NULL,
    UNIQUE (stream_id, version),
    UNIQUE (tenant, tenant_seq),
    CHECK ((series IS NULL) = (number IS NULL))
);
CREATE UNIQUE INDEX events_tenant_series_number_key ON erp.events (tenant, series, number) WHERE series IS NOT NULL;

CREATE TABLE erp.commands (
    tenant uuid NOT NULL REFERENCES erp.tenants,
    idempotency_key text NOT NULL,
    request_hash bytea NOT NULL,
    answer text NOT NULL,
    position bigint NOT NULL,
    recorded_at timestamptz NOT NULL,
    PRIMARY KEY (tenant, idempotency_key)
);

CREATE TABLE erp.snapshots (
    tenant uuid NOT NULL REFERENCES erp.tenants,
    stream_id uuid NOT NULL,
    version bigint NOT NULL,
    type text NOT NULL,
    state bytea NOT NULL,
    PRIMARY KEY (tenant, stream_id, type, version)
);

-- Which tenant's books a person's own database login may see; logins are made members of erp_auditor.
CREATE TABLE erp.auditors (
    login name PRIMARY KEY,
    tenant uuid NOT NULL REFERENCES erp.tenants
);

-- One row. Nothing is recorded at or before `floor`: an instant that was once resolved to a position stays resolved.
CREATE TABLE erp.clock (
    one boolean PRIMARY KEY DEFAULT true CHECK (one),
    floor timestamptz NOT NULL
);
INSERT INTO erp.clock (floor) VALUES ('-infinity');

-- People read events here; the log itself keeps the bytes as they came. Not jsonb, which refuses some strings: one such event
-- would make the whole view unreadable.
CREATE VIEW erp.events_readable WITH (security_invoker = true) AS
SELECT position, tenant, tenant_seq, stream_type, stream_id, version, type, schema_version, series, number, recorded_at,
       CASE encoding WHEN 'json' THEN convert_from(data, 'UTF8')::json END AS data,
       convert_from(metadata, 'UTF8')::json AS metadata,
       event_id, encode(leaf_hash, 'hex') AS leaf_hash
FROM erp.events;


-- Append-only, also for the owner of the tables.

CREATE FUNCTION erp.refuse_change() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'erp.% is append-only: % is refused', TG_TABLE_NAME, TG_OP USING ERRCODE = 'insufficient_privilege';
END
$$;
CREATE TRIGGER append_only_rows BEFORE UPDATE OR DELETE ON erp.events
    FOR EACH ROW EXECUTE FUNCTION erp.refuse_change();
CREATE TRIGGER append_only_table BEFORE TRUNCATE ON erp.events
    FOR EACH STATEMENT EXECUTE FUNCTION erp.refuse_change();
ALTER TABLE erp.events ENABLE ALWAYS TRIGGER append_only_rows;
ALTER TABLE erp.events ENABLE ALWAYS TRIGGER append_only_table;


-- Who sees what. The application names its tenant in each transaction; without one it sees nothing.

CREATE FUNCTION erp.current_tenant() RETURNS uuid LANGUAGE sql STABLE PARALLEL SAFE AS $$
    SELECT nullif(current_setting('erp.tenant', true), '')::uuid
$$;

CREATE FUNCTION erp.audited_tenant() RETURNS uuid LANGUAGE sql STABLE SECURITY DEFINER SET search_path = erp, pg_temp AS $$
    SELECT tenant FROM erp.auditors WHERE login = session_user
$$;

DO $$
DECLARE
    guarded text;
BEGIN
    FOREACH guarded IN ARRAY ARRAY['tenants', 'events', 'commands', 'snapshots'] LOOP
        EXECUTE format('ALTER TABLE erp.%I ENABLE ROW LEVEL SECURITY', guarded);
        -- The subselect makes Postgres ask once a query, not once a row.
        EXECUTE format('CREATE POLICY application ON erp.%I TO erp_app
                        USING (tenant = (SELECT erp.current_tenant()))', guarded);
        EXECUTE format('CREATE POLICY reader ON erp.%I FOR SELECT TO erp_reader USING (true)', guarded);
        EXECUTE format('CREATE POLICY auditor ON erp.%I FOR SELECT TO erp_auditor
                        USING (tenant = (SELECT erp.audited_tenant()))', guarded);
        EXECUTE format('GRANT SELECT ON erp.%I TO erp_app, erp_reader, erp_auditor', guarded);
    END LOOP;
END
$$;
GRANT SELECT ON erp.events_readable TO erp_app, erp_reader, erp_auditor;
GRANT INSERT ON erp.snapshots TO erp_app;
