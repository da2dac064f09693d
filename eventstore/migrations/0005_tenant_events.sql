-- The log of one tenant in commit order, for who follows it over HTTP. Like the other reads of the application these name
-- their tenant and run with the caller's rights, so row-level security applies.

-- How many events there are of each of these tenants: the last tenant_seq, which is dense.
CREATE FUNCTION erp.tenant_heads(of_tenants uuid[]) RETURNS TABLE (tenant uuid, tenant_seq bigint)
    LANGUAGE plpgsql SET search_path = erp, pg_temp SET enable_seqscan = off
AS $$
DECLARE
    of_tenant uuid;
BEGIN
    FOREACH of_tenant IN ARRAY of_tenants LOOP
        PERFORM set_config('erp.tenant', of_tenant::text, true);
        RETURN QUERY
            SELECT e.tenant, e.tenant_seq FROM events e
             WHERE e.tenant = of_tenant ORDER BY e.tenant_seq DESC LIMIT 1;
    END LOOP;
END
$$;

-- The tenant_seq of its last event at or before a position. 0: none.
CREATE FUNCTION erp.tenant_seq_at(of_tenant uuid, at_position bigint) RETURNS bigint
    LANGUAGE plpgsql SET search_path = erp, pg_temp SET enable_seqscan = off
AS $$
DECLARE
    low bigint := 0;
    high bigint;
    middle bigint;
BEGIN
    PERFORM set_config('erp.tenant', of_tenant::text, true);
    high := 1 + coalesce((SELECT e.tenant_seq FROM events e
                           WHERE e.tenant = of_tenant ORDER BY e.tenant_seq DESC LIMIT 1), 0);
    -- position grows with tenant_seq, which is dense: a bisection needs no index of its own.
    WHILE low + 1 < high LOOP
        middle := (low + high) / 2;
        IF (SELECT e.position FROM events e
             WHERE e.tenant = of_tenant AND e.tenant_seq = middle) <= at_position THEN
            low := middle;
        ELSE
            high := middle;
        END IF;
    END LOOP;
    RETURN low;
END
$$;

-- Its events above `after_seq` and up to `up_to_seq`, of these types (NULL: of any), in order: as many as are begun within
-- `bytes_max` bytes of data and metadata, and so at least one where there is one.
CREATE FUNCTION erp.read_tenant_events(of_tenant uuid, after_seq bigint, up_to_seq bigint, of_types text[], bytes_max bigint)
    RETURNS TABLE ("position" bigint, event_id uuid, tenant uuid, tenant_seq bigint, stream_id uuid, version bigint,
                   schema_version int, number bigint, recorded_at timestamptz, stream_type text, type text, series text,
                   encoding text, data bytea, metadata bytea, leaf_hash bytea)
    LANGUAGE plpgsql SET search_path = erp, pg_temp SET enable_seqscan = off
AS $$
BEGIN
    PERFORM set_config('erp.tenant', of_tenant::text, true);
    RETURN QUERY
        SELECT s.position, s.event_id, s.tenant, s.tenant_seq, s.stream_id, s.version, s.schema_version, s.number,
               s.recorded_at, s.stream_type, s.type, s.series, s.encoding, s.data, s.metadata, s.leaf_hash
          FROM (SELECT e.*, coalesce(sum(length(e.data) + length(e.metadata)) OVER (
                           ORDER BY e.tenant_seq ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING), 0) AS bytes_before
                  FROM events e
                 WHERE e.tenant = of_tenant AND e.tenant_seq > after_seq AND e.tenant_seq <= up_to_seq
                   AND (of_types IS NULL OR e.type = ANY (of_types))) s
         WHERE s.bytes_before < bytes_max
         ORDER BY s.tenant_seq;
END
$$;

-- The last position of all. Row-level security would hide it, and whoever has written anything knows it anyway.
CREATE FUNCTION erp.head() RETURNS bigint LANGUAGE sql STABLE SECURITY DEFINER
    SET search_path = erp, pg_temp SET enable_seqscan = off
AS $$
    SELECT coalesce((SELECT e.position FROM events e ORDER BY e.position DESC LIMIT 1), 0)
$$;

REVOKE ALL ON FUNCTION erp.tenant_heads, erp.tenant_seq_at, erp.read_tenant_events, erp.head FROM PUBLIC;
GRANT EXECUTE ON FUNCTION erp.tenant_heads, erp.tenant_seq_at, erp.read_tenant_events, erp.head TO erp_app;


-- The positions of the tenant's events, up to `up_to`, that were taken out of any of these projections.
CREATE FUNCTION erp.tenant_discards(of_tenant uuid, of_projections text[], up_to bigint) RETURNS TABLE ("position" bigint)
    LANGUAGE plpgsql SET search_path = erp, pg_temp SET enable_seqscan = off
AS $$
BEGIN
    PERFORM set_config('erp.tenant', of_tenant::text, true);
    RETURN QUERY
        SELECT DISTINCT d.position FROM projection_discards d JOIN events e ON e.position = d.position
         WHERE d.projection = ANY (of_projections) AND d.position <= up_to AND e.tenant = of_tenant
         ORDER BY d.position;
END
$$;

-- How far each projection is, and the log copy, and by how much that is behind: in events that are due (whole steps, for one
-- that goes by steps), and in seconds since the first of them was. One that does not answer yet tells of what is being filled.
CREATE FUNCTION erp.lags() RETURNS TABLE (what text, "position" bigint, is_serving boolean, blocked_by bigint,
                                          lag_events bigint, lag_seconds float8)
    LANGUAGE sql STABLE SECURITY DEFINER SET search_path = erp, pg_temp SET enable_seqscan = off
AS $$
    SELECT s.what, s.position, s.is_serving, s.blocked_by,
           greatest(0, erp.head() / s.step * s.step - s.position),
           coalesce(greatest(0, extract(epoch FROM clock_timestamp() -
               (SELECT e.recorded_at FROM events e WHERE e.position = s.position + s.step))), 0)::float8
      FROM (SELECT g.projection AS what, g.position, p.serving IS NOT NULL AS is_serving, g.blocked_by,
                   (g.definition ->> 'step')::bigint AS step
              FROM projections p
              JOIN projection_generations g ON g.projection = p.projection
               AND g.generation = coalesce(p.serving, (SELECT max(n.generation) FROM projection_generations n
                                                        WHERE n.projection = p.projection))
             UNION ALL
            SELECT 'log', c.position, true, NULL, 1 FROM log_copy c) s
$$;

REVOKE ALL ON FUNCTION erp.tenant_discards, erp.lags FROM PUBLIC;
GRANT EXECUTE ON FUNCTION erp.tenant_discards, erp.lags TO erp_app;
