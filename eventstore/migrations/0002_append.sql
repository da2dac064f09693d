-- The one way into the log, and the one meaning of "as known at".

-- The RFC 9162 leaf of an event; the layout is published in docs/reference/leaf-hash.md. Texts cannot contain NUL in
-- Postgres, so joining them with it is unambiguous.
CREATE FUNCTION erp.leaf_hash(e erp.events) RETURNS bytea LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
    SELECT sha256(
        '\x0001'::bytea
        || int8send(e.position) || uuid_send(e.event_id) || uuid_send(e.tenant) || int8send(e.tenant_seq)
        || uuid_send(e.stream_id) || int8send(e.version) || int4send(e.schema_version) || int8send(coalesce(e.number, 0))
        || timestamptz_send(e.recorded_at)
        || sha256(convert_to(e.stream_type, 'UTF8') || '\x00'::bytea || convert_to(e.type, 'UTF8') || '\x00'::bytea
                  || convert_to(coalesce(e.series, ''), 'UTF8') || '\x00'::bytea || convert_to(e.encoding, 'UTF8'))
        || sha256(e.data) || sha256(e.metadata))
$$;

-- Appends a batch of independent requests in commit order.
--
-- batch: {"requests": [{r, tenant, key, hash, answer, metadata, checks: [c, …]}],
--         "checks":   [{c, tenant, stream, stream_type, version}],
--         "events":   [{r, n, c, id, version, type, schema_version, series, encoding, data}]}
-- with hash, data and metadata in base64. A check demands that the stream is at the version (0: absent; -1: absent, and its
-- events start at version 0). An event belongs to the stream of its check c, which must be one of its request's, and the
-- versions follow on the checked one: so nothing gets into a stream that was not looked at. No request of a batch may write
-- a stream that another one checks: the caller sees to that.
--
-- Answer: [{r, outcome, position, tenant_seq, recorded_at, answer}], with outcome `appended`, `replayed` or `key_reused`.
-- A request that is missing in the answer met a stream at another version; nothing of it is stored.
CREATE FUNCTION erp.append_events(batch jsonb) RETURNS text LANGUAGE plpgsql SECURITY DEFINER
    SET search_path = erp, pg_temp
    -- Plans are kept for the connection's life, and the tables may be empty when they are made: index or nothing.
    SET enable_seqscan = off SET enable_bitmapscan = off SET jit = off
AS $$
DECLARE
    last record;
    first_instant timestamptz;
    known jsonb;
    settled int[];
    outdated int[];
    appended jsonb;
BEGIN
    IF current_setting('transaction_isolation') <> 'read committed' THEN
        RAISE EXCEPTION 'erp.append_events works in read committed only: older snapshots do not see what the lock waited for'
            USING ERRCODE = 'invalid_transaction_state';
    END IF;

    -- From numbering to commit: a reader that has seen position N has seen everything up to N, for ever.
    PERFORM pg_advisory_xact_lock(4712820726);

    SELECT e.position, e.recorded_at INTO last FROM events e ORDER BY e.position DESC LIMIT 1;
    SELECT greatest(clock_timestamp(), last.recorded_at + interval '1 microsecond', c.floor + interval '1 microsecond')
      INTO first_instant FROM clock c;

    -- A key that is here already settles its request.
    SELECT jsonb_agg(jsonb_build_object(
               'r', r.r,
               'outcome', CASE WHEN c.request_hash = decode(r.hash, 'base64') THEN 'replayed' ELSE 'key_reused' END,
               'position', c.position, 'recorded_at', c.recorded_at, 'answer', c.answer)),
           array_agg(r.r)
      INTO known, settled
      FROM jsonb_to_recordset(batch->'requests') AS r(r int, tenant uuid, key text, hash text)
     CROSS JOIN LATERAL (SELECT k.* FROM commands k
                          WHERE k.tenant = r.tenant AND k.idempotency_key = r.key LIMIT 1) c;

    SELECT array_agg(c.c) INTO outdated
      FROM jsonb_to_recordset(batch->'checks') AS c(c int, tenant uuid, stream uuid, stream_type text, version bigint)
      LEFT JOIN LATERAL (SELECT e.version, e.tenant, e.stream_type FROM events e
                          WHERE e.stream_id = c.stream ORDER BY e.version DESC LIMIT 1) l ON true
     WHERE CASE WHEN l.version IS NULL THEN c.version NOT IN (0, -1)
                ELSE (l.version, l.tenant, l.stream_type) <> (c.version, c.tenant, c.stream_type) END;

    WITH accepted AS MATERIALIZED (
        SELECT r.* FROM jsonb_to_recordset(batch->'requests')
                   AS r(r int, tenant uuid, key text, hash text, answer text, metadata text, checks int[])
         WHERE NOT coalesce(r.r = ANY (settled), false) AND NOT coalesce(r.checks && outdated, false)
    ), ordered AS MATERIALIZED (
        SELECT e.*, k.stream, k.stream_type, a.tenant, decode(a.metadata, 'base64') AS metadata,
               -- NULL, which the table refuses, when the version does not follow.
               CASE WHEN e.version = k.version + row_number() OVER (PARTITION BY e.c ORDER BY e.n)
                    THEN e.version END AS next_version,
               row_number() OVER (ORDER BY e.n) AS nth,
               row_number() OVER (PARTITION BY a.tenant ORDER BY e.n) AS nth_of_tenant,
               row_number() OVER (PARTITION BY a.tenant, e.series ORDER BY e.n) AS nth_of_series
          FROM jsonb_to_recordset(batch->'events')
               AS e(r int, n int, c int, id uuid, version bigint, type text, schema_version int, series text, encoding text,
                    data text)
          JOIN accepted a ON a.r = e.r
          LEFT JOIN jsonb_to_recordset(batch->'checks')
               AS k(c int, tenant uuid, stream uuid, stream_type text, version bigint)
               ON k.c = e.c AND k.tenant = a.tenant AND k.c = ANY (a.checks)
    ), tenant_end AS MATERIALIZED (
        SELECT t.tenant, coalesce((SELECT e.tenant_seq FROM events e WHERE e.tenant = t.tenant
                                    ORDER BY e.tenant_seq DESC LIMIT 1), 0) AS seq
          FROM (SELECT DISTINCT o.tenant FROM ordered o) t
    ), series_end AS MATERIALIZED (
        SELECT s.tenant, s.series, coalesce((SELECT e.number FROM events e WHERE e.tenant = s.tenant AND e.series = s.series
                                              ORDER BY e.number DESC LIMIT 1), 0) AS number
          FROM (SELECT DISTINCT o.tenant, o.series FROM ordered o WHERE o.series IS NOT NULL) s
    ), stamped AS MATERIALIZED (
        SELECT o.r, (coalesce(last.position, 0) + o.nth, t.seq + o.nth_of_tenant, o.next_version, s.number + o.nth_of_series,
                     first_instant + (o.nth - 1) * interval '1 microsecond', o.id, o.tenant, o.stream, o.schema_version,
                     o.stream_type, o.type, o.series, o.encoding, decode(o.data, 'base64'), o.metadata,
                     NULL)::events AS event
          FROM ordered o
          JOIN tenant_end t ON t.tenant = o.tenant
          LEFT JOIN series_end s ON s.tenant = o.tenant AND s.series = o.series
    ), stored AS (
        INSERT INTO events
        SELECT (event).position, (event).tenant_seq, (event).version, (event).number, (event).recorded_at, (event).event_id,
               (event).tenant, (event).stream_id, (event).schema_version, (event).stream_type, (event).type, (event).series,
               (event).encoding, (event).data, (event).metadata, leaf_hash(event)
          FROM stamped ORDER BY (event).position
    ), done AS MATERIALIZED (
        SELECT r, max((event).position) AS position, max((event).tenant_seq) AS tenant_seq,
               max((event).recorded_at) AS recorded_at
          FROM stamped GROUP BY r
    ), kept AS (
        INSERT INTO commands (tenant, idempotency_key, request_hash, answer, position, recorded_at)
        SELECT a.tenant, a.key, decode(a.hash, 'base64'), a.answer, d.position, d.recorded_at
          FROM done d JOIN accepted a ON a.r = d.r
    )
    SELECT jsonb_agg(jsonb_build_object('r', d.r, 'outcome', 'appended', 'position', d.position,
                                        'tenant_seq', d.tenant_seq, 'recorded_at', d.recorded_at))
      INTO appended FROM done d;

    RETURN (coalesce(known, '[]') || coalesce(appended, '[]'))::text;
END
$$;

-- The last position recorded at or before an instant, which nothing that is recorded later can change. NULL for an instant
-- that has not come.
CREATE FUNCTION erp.position_at(known_at timestamptz) RETURNS bigint LANGUAGE plpgsql SECURITY DEFINER
    SET search_path = erp, pg_temp SET enable_seqscan = off
AS $$
DECLARE
    last record;
    low bigint := 0;
    high bigint;
    middle bigint;
BEGIN
    IF current_setting('transaction_isolation') <> 'read committed' THEN
        RAISE EXCEPTION 'erp.position_at works in read committed only: older snapshots do not see what the lock waited for'
            USING ERRCODE = 'invalid_transaction_state';
    END IF;

    SELECT e.position, e.recorded_at INTO last FROM events e ORDER BY e.position DESC LIMIT 1;
    IF last.position IS NULL OR known_at >= last.recorded_at THEN
        -- The open end: wait for those who are numbering, then forbid this instant to all who come.
        PERFORM pg_advisory_xact_lock(4712820726);
        SELECT e.position, e.recorded_at INTO last FROM events e ORDER BY e.position DESC LIMIT 1;
        -- What was resolved before does not become the future because the clock was set back.
        IF known_at > greatest(clock_timestamp(), last.recorded_at, (SELECT c.floor FROM clock c)) THEN
            RETURN NULL;
        END IF;
        UPDATE clock SET floor = known_at WHERE floor < known_at;
        IF last.position IS NULL OR known_at >= last.recorded_at THEN
            RETURN coalesce(last.position, 0);
        END IF;
    END IF;
    -- recorded_at grows with position, and positions are dense: a bisection needs no index of its own.
    high := last.position;
    WHILE low + 1 < high LOOP
        middle := (low + high) / 2;
        IF (SELECT e.recorded_at FROM events e WHERE e.position = middle) <= known_at THEN
            low := middle;
        ELSE
            high := middle;
        END IF;
    END LOOP;
    RETURN low;
END
$$;


-- Reads of the application: each names its tenant and runs with the caller's rights, so row-level security applies, in one
-- round trip.

CREATE FUNCTION erp.read_stream(of_tenant uuid, of_stream uuid, of_type text, after_version bigint, row_limit int)
    RETURNS TABLE (version bigint, type text, schema_version int, series text, number bigint, recorded_at timestamptz,
                   "position" bigint, encoding text, data bytea, metadata bytea)
    LANGUAGE plpgsql SET search_path = erp, pg_temp SET enable_seqscan = off
AS $$
BEGIN
    PERFORM set_config('erp.tenant', of_tenant::text, true);
    RETURN QUERY
        SELECT e.version, e.type, e.schema_version, e.series, e.number, e.recorded_at, e.position, e.encoding, e.data, e.metadata
          FROM events e
         WHERE e.stream_id = of_stream AND e.stream_type = of_type AND e.version > after_version
         ORDER BY e.version LIMIT row_limit;
END
$$;

CREATE FUNCTION erp.read_snapshot(of_tenant uuid, of_stream uuid, of_type text)
    RETURNS TABLE (version bigint, state bytea)
    LANGUAGE plpgsql SET search_path = erp, pg_temp SET enable_seqscan = off
AS $$
BEGIN
    PERFORM set_config('erp.tenant', of_tenant::text, true);
    RETURN QUERY
        SELECT s.version, s.state FROM snapshots s
         WHERE s.tenant = of_tenant AND s.stream_id = of_stream AND s.type = of_type
         ORDER BY s.version DESC LIMIT 1;
END
$$;

CREATE FUNCTION erp.write_snapshot(of_tenant uuid, of_stream uuid, at_version bigint, of_type text, new_state bytea)
    RETURNS void LANGUAGE plpgsql SET search_path = erp, pg_temp
AS $$
BEGIN
    PERFORM set_config('erp.tenant', of_tenant::text, true);
    INSERT INTO snapshots (tenant, stream_id, version, type, state)
    VALUES (of_tenant, of_stream, at_version, of_type, new_state) ON CONFLICT DO NOTHING;
END
$$;

CREATE FUNCTION erp.read_command(of_tenant uuid, of_key text)
    RETURNS TABLE (request_hash bytea, answer text, "position" bigint, recorded_at timestamptz)
    LANGUAGE plpgsql SET search_path = erp, pg_temp SET enable_seqscan = off
AS $$
BEGIN
    PERFORM set_config('erp.tenant', of_tenant::text, true);
    RETURN QUERY
        SELECT c.request_hash, c.answer, c.position, c.recorded_at FROM commands c
         WHERE c.tenant = of_tenant AND c.idempotency_key = of_key;
END
$$;

-- The streams whose events took numbers in a series, in the order of the numbers.
CREATE FUNCTION erp.read_register(of_tenant uuid, of_series text, after_number bigint, row_limit int)
    RETURNS TABLE (number bigint, stream_id uuid)
    LANGUAGE plpgsql SET search_path = erp, pg_temp SET enable_seqscan = off
AS $$
BEGIN
    PERFORM set_config('erp.tenant', of_tenant::text, true);
    RETURN QUERY
        SELECT e.number, e.stream_id FROM events e
         WHERE e.tenant = of_tenant AND e.series = of_series AND e.number > after_number
         ORDER BY e.number LIMIT row_limit;
END
$$;

-- Before a tenant can be named its id must be found.
CREATE FUNCTION erp.find_tenant(wanted text) RETURNS uuid LANGUAGE sql STABLE SECURITY DEFINER
    SET search_path = erp, pg_temp
AS $$
    SELECT tenant FROM tenants WHERE name = wanted
$$;

REVOKE ALL ON ALL FUNCTIONS IN SCHEMA erp FROM PUBLIC;
GRANT EXECUTE ON ALL FUNCTIONS IN SCHEMA erp TO erp_app;
GRANT EXECUTE ON FUNCTION erp.position_at, erp.leaf_hash, erp.find_tenant TO erp_reader;
GRANT EXECUTE ON FUNCTION erp.audited_tenant TO erp_auditor;
