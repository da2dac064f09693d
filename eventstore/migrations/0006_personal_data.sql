-- Keys for personal data, one per tenant and person. Events hold such data sealed only: whoever deletes a row here has deleted
-- all that was sealed under it, wherever it was copied to.

CREATE TABLE erp.subject_keys (
    tenant uuid NOT NULL REFERENCES erp.tenants,
    subject text NOT NULL CHECK (subject <> ''),
    key uuid NOT NULL,
    -- The key itself, sealed under the master key, which this database never sees; `master` tells which one that was.
    wrapped bytea NOT NULL CHECK (length(wrapped) = 60),
    master bytea NOT NULL CHECK (length(master) = 16),
    made_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (tenant, subject)
);
CREATE INDEX subject_keys_master_idx ON erp.subject_keys (master);

-- Nobody else has any business with them: readers and auditors see what is sealed, and no more.
ALTER TABLE erp.subject_keys ENABLE ROW LEVEL SECURITY;
CREATE POLICY application ON erp.subject_keys TO erp_app USING (tenant = (SELECT erp.current_tenant()));
GRANT SELECT, INSERT ON erp.subject_keys TO erp_app;

-- The key of a person, if there is one. Like the other reads of the application this runs with the caller's rights.
CREATE FUNCTION erp.find_subject_key(of_tenant uuid, of_subject text) RETURNS TABLE (key uuid, wrapped bytea)
    LANGUAGE plpgsql SET search_path = erp, pg_temp SET enable_seqscan = off
AS $$
BEGIN
    PERFORM set_config('erp.tenant', of_tenant::text, true);
    RETURN QUERY SELECT k.key, k.wrapped FROM subject_keys k WHERE k.tenant = of_tenant AND k.subject = of_subject;
END
$$;

-- The same, and where there is none, the one that is offered becomes it. Of several who offer at once, one is taken by all.
CREATE FUNCTION erp.subject_key(of_tenant uuid, of_subject text, new_key uuid, new_wrapped bytea, new_master bytea)
    RETURNS TABLE (key uuid, wrapped bytea)
    LANGUAGE plpgsql SET search_path = erp, pg_temp SET enable_seqscan = off
AS $$
BEGIN
    PERFORM set_config('erp.tenant', of_tenant::text, true);
    -- Again, should what kept ours out be deleted before it is read.
    LOOP
        RETURN QUERY SELECT k.key, k.wrapped FROM subject_keys k WHERE k.tenant = of_tenant AND k.subject = of_subject;
        IF FOUND THEN
            RETURN;
        END IF;
        INSERT INTO subject_keys (tenant, subject, key, wrapped, master)
        VALUES (of_tenant, of_subject, new_key, new_wrapped, new_master) ON CONFLICT DO NOTHING;
    END LOOP;
END
$$;

-- Which master keys are in use, over all tenants: the first and the last of them in the order of the index, which is one and
-- the same unless there are several.
CREATE FUNCTION erp.master_keys() RETURNS SETOF bytea
    LANGUAGE sql STABLE SECURITY DEFINER SET search_path = erp, pg_temp SET enable_seqscan = off
AS $$
    (SELECT k.master FROM subject_keys k ORDER BY k.master LIMIT 1)
    UNION
    (SELECT k.master FROM subject_keys k ORDER BY k.master DESC LIMIT 1)
$$;

REVOKE ALL ON FUNCTION erp.find_subject_key, erp.subject_key, erp.master_keys FROM PUBLIC;
GRANT EXECUTE ON FUNCTION erp.find_subject_key, erp.subject_key, erp.master_keys TO erp_app;
