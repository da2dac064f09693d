-- What the relay keeps: how far the log is published, and the Merkle tree over it with its signed heads.

DO $$
BEGIN
    IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = 'erp_relay') THEN
        CREATE ROLE erp_relay LOGIN;
    END IF;
EXCEPTION WHEN duplicate_object OR unique_violation THEN NULL;
END
$$;

-- It reads the events of every tenant, and nothing else of theirs.
GRANT USAGE ON SCHEMA erp TO erp_relay;
GRANT SELECT ON erp.migrations, erp.events TO erp_relay;
CREATE POLICY relay ON erp.events FOR SELECT TO erp_relay USING (true);


-- One row: everything up to `position` is in Kafka. Updated many times a second, hence the room in the page: the new
-- version of a row then stays beside the old one and touches no index.
CREATE TABLE erp.relay (
    one boolean PRIMARY KEY DEFAULT true CHECK (one),
    position bigint NOT NULL DEFAULT 0 CHECK (position >= 0),
    -- How many partitions a topic has; NULL before the first event is published.
    partitions integer CHECK (partitions > 0),
    moved_at timestamptz NOT NULL DEFAULT now()
) WITH (fillfactor = 20);
INSERT INTO erp.relay DEFAULT VALUES;

-- The last position in each partition up to relay.position: what the next message there names as the one before it.
CREATE TABLE erp.relay_partitions (
    topic text NOT NULL,
    partition integer NOT NULL CHECK (partition >= 0),
    position bigint NOT NULL CHECK (position > 0),
    PRIMARY KEY (topic, partition)
) WITH (fillfactor = 20);

GRANT SELECT ON erp.relay, erp.relay_partitions TO erp_app, erp_reader;
GRANT SELECT, UPDATE ON erp.relay TO erp_relay;
GRANT SELECT, INSERT, UPDATE, DELETE ON erp.relay_partitions TO erp_relay;


-- The Merkle tree of RFC 9162, section 2.1, over the leaf hashes in order of position: the hashes of its complete subtrees
-- of 2^level leaves, the index-th of that size from the left. Those of fewer than 16 leaves are computed when asked for.
CREATE TABLE erp.merkle_nodes (
    level smallint NOT NULL CHECK (level BETWEEN 4 AND 62),
    index bigint NOT NULL CHECK (index >= 0),
    hash bytea NOT NULL CHECK (length(hash) = 32),
    PRIMARY KEY (level, index)
);

-- The layout of what is signed is published in docs/reference/tree-heads.md.
CREATE TABLE erp.tree_heads (
    tree_size bigint PRIMARY KEY CHECK (tree_size > 0),
    root_hash bytea NOT NULL CHECK (length(root_hash) = 32),
    signed_at timestamptz NOT NULL,
    tenants bigint NOT NULL,
    tenants_root bytea NOT NULL CHECK (length(tenants_root) = 32),
    kid text NOT NULL,
    signature bytea NOT NULL
);

-- How many events of a tenant a tree head covers, wherever that has changed since the head before it.
CREATE TABLE erp.tenant_counts (
    tenant uuid NOT NULL REFERENCES erp.tenants,
    tree_size bigint NOT NULL REFERENCES erp.tree_heads,
    events bigint NOT NULL CHECK (events > 0),
    PRIMARY KEY (tenant, tree_size)
);

DO $$
DECLARE
    kept text;
BEGIN
    FOREACH kept IN ARRAY ARRAY['merkle_nodes', 'tree_heads', 'tenant_counts'] LOOP
        EXECUTE format('CREATE TRIGGER append_only_rows BEFORE UPDATE OR DELETE ON erp.%I
                        FOR EACH ROW EXECUTE FUNCTION erp.refuse_change()', kept);
        EXECUTE format('CREATE TRIGGER append_only_table BEFORE TRUNCATE ON erp.%I
                        FOR EACH STATEMENT EXECUTE FUNCTION erp.refuse_change()', kept);
        EXECUTE format('ALTER TABLE erp.%I ENABLE ALWAYS TRIGGER append_only_rows', kept);
        EXECUTE format('ALTER TABLE erp.%I ENABLE ALWAYS TRIGGER append_only_table', kept);
        EXECUTE format('GRANT SELECT ON erp.%I TO erp_app, erp_reader, erp_auditor', kept);
        EXECUTE format('GRANT SELECT, INSERT ON erp.%I TO erp_relay', kept);
    END LOOP;
END
$$;

-- Hashes tell nothing of anybody's books; how much another tenant does is nobody's business.
ALTER TABLE erp.tenant_counts ENABLE ROW LEVEL SECURITY;
CREATE POLICY application ON erp.tenant_counts FOR SELECT TO erp_app USING (tenant = (SELECT erp.current_tenant()));
CREATE POLICY auditor ON erp.tenant_counts FOR SELECT TO erp_auditor USING (tenant = (SELECT erp.audited_tenant()));
CREATE POLICY reader ON erp.tenant_counts FOR SELECT TO erp_reader USING (true);
CREATE POLICY relay ON erp.tenant_counts TO erp_relay USING (true);


-- A proof for one tenant needs the hashes of its neighbours, which row-level security hides with everything else.

CREATE FUNCTION erp.leaf_hashes(first_position bigint, last_position bigint)
    RETURNS TABLE ("position" bigint, leaf_hash bytea)
    LANGUAGE sql STABLE SECURITY DEFINER SET search_path = erp, pg_temp SET enable_seqscan = off
AS $$
    SELECT e.position, e.leaf_hash FROM events e
     WHERE e.position BETWEEN first_position AND last_position ORDER BY e.position
$$;

-- The leaves of the tree over tenants that belongs to the head of this size, in order, and which of them is asked for.
CREATE FUNCTION erp.tenant_leaves(of_size bigint, of_tenant uuid)
    RETURNS TABLE (leaf_hash bytea, is_of_tenant boolean)
    LANGUAGE sql STABLE SECURITY DEFINER SET search_path = erp, pg_temp SET enable_seqscan = off
AS $$
    SELECT sha256('\x00'::bytea || uuid_send(c.tenant) || int8send(c.events)), c.tenant = of_tenant
      FROM (SELECT DISTINCT ON (k.tenant) k.tenant, k.events FROM tenant_counts k
             WHERE k.tree_size <= of_size ORDER BY k.tenant, k.tree_size DESC) c
     ORDER BY c.tenant
$$;

REVOKE ALL ON FUNCTION erp.leaf_hashes, erp.tenant_leaves FROM PUBLIC;
GRANT EXECUTE ON FUNCTION erp.leaf_hashes, erp.tenant_leaves TO erp_app, erp_reader, erp_auditor, erp_relay;
