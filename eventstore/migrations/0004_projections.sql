-- What the read side keeps in Postgres: how far ClickHouse has come, and which tables answer questions. ClickHouse itself can
-- be wiped at any moment: what is here then says so.

DO $$
BEGIN
    IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = 'erp_worker') THEN
        CREATE ROLE erp_worker LOGIN;
    END IF;
EXCEPTION WHEN duplicate_object OR unique_violation THEN NULL;
END
$$;

-- It reads the events of every tenant, and nothing else of theirs.
GRANT USAGE ON SCHEMA erp TO erp_worker;
GRANT SELECT ON erp.migrations, erp.events, erp.relay TO erp_worker;
CREATE POLICY worker ON erp.events FOR SELECT TO erp_worker USING (true);


-- One row: every event up to `position` is in the log copy of the ClickHouse with the id `instance`, and is the store's.
-- Updated many times a second, hence the room in the page, here and below.
CREATE TABLE erp.log_copy (
    one boolean PRIMARY KEY DEFAULT true CHECK (one),
    instance uuid,
    position bigint NOT NULL DEFAULT 0 CHECK (position >= 0),
    moved_at timestamptz NOT NULL DEFAULT now()
) WITH (fillfactor = 20);
INSERT INTO erp.log_copy DEFAULT VALUES;

-- A generation is one filling of a projection's table, by the definition it was begun with.
CREATE TABLE erp.projection_generations (
    projection text NOT NULL CHECK (projection <> ''),
    generation integer NOT NULL CHECK (generation > 0),
    version integer NOT NULL CHECK (version > 0),
    definition jsonb NOT NULL,
    instance uuid NOT NULL,
    position bigint NOT NULL DEFAULT 0 CHECK (position >= 0),
    -- The event that its SELECT cannot read, and why: it stands still before it.
    blocked_by bigint,
    blocked_why text,
    made_at timestamptz NOT NULL DEFAULT now(),
    moved_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (projection, generation),
    CHECK ((blocked_by IS NULL) = (blocked_why IS NULL))
) WITH (fillfactor = 20);

-- Which generation answers; NULL while none can. `previous` is kept to go back to.
CREATE TABLE erp.projections (
    projection text PRIMARY KEY,
    serving integer,
    previous integer,
    switched_at timestamptz NOT NULL DEFAULT now(),
    FOREIGN KEY (projection, serving) REFERENCES erp.projection_generations,
    FOREIGN KEY (projection, previous) REFERENCES erp.projection_generations
);

-- Events that somebody took out of a projection, for good; its reports tell.
CREATE TABLE erp.projection_discards (
    projection text NOT NULL,
    position bigint NOT NULL CHECK (position > 0),
    reason text NOT NULL CHECK (reason <> ''),
    discarded_by text NOT NULL,
    discarded_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (projection, position)
);
CREATE TRIGGER append_only_rows BEFORE UPDATE OR DELETE ON erp.projection_discards
    FOR EACH ROW EXECUTE FUNCTION erp.refuse_change();
CREATE TRIGGER append_only_table BEFORE TRUNCATE ON erp.projection_discards
    FOR EACH STATEMENT EXECUTE FUNCTION erp.refuse_change();
ALTER TABLE erp.projection_discards ENABLE ALWAYS TRIGGER append_only_rows;
ALTER TABLE erp.projection_discards ENABLE ALWAYS TRIGGER append_only_table;

GRANT SELECT ON erp.log_copy, erp.projection_generations, erp.projections, erp.projection_discards TO erp_app, erp_reader;
GRANT SELECT, UPDATE ON erp.log_copy TO erp_worker;
GRANT SELECT, INSERT, UPDATE, DELETE ON erp.projection_generations, erp.projections TO erp_worker;
GRANT SELECT, INSERT ON erp.projection_discards TO erp_worker;
