-- What saga workers keep in Postgres beside the sagas themselves, which are aggregates in the log: how far they have come,
-- what they will be woken for, and what they could not deal with. All of it is derived; the log is the truth.

DO $$
BEGIN
    IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = 'erp_saga') THEN
        CREATE ROLE erp_saga LOGIN;
    END IF;
EXCEPTION WHEN duplicate_object OR unique_violation THEN NULL;
END
$$;

-- It reads the events of every tenant and writes these tables. Commands, and the sagas' own events, go in as erp_app does.
GRANT USAGE ON SCHEMA erp TO erp_saga;
GRANT SELECT ON erp.migrations, erp.events, erp.relay TO erp_saga;
CREATE POLICY saga ON erp.events FOR SELECT TO erp_saga USING (true);


-- Of a consumer group: every event of the partition up to `position` is dealt with. The row without a topic is for all
-- partitions. Updated many times a second, hence the room in the page.
CREATE TABLE erp.partition_positions (
    consumer_group text NOT NULL CHECK (consumer_group <> ''),
    topic text NOT NULL,
    partition integer NOT NULL CHECK (partition >= 0),
    position bigint NOT NULL CHECK (position >= 0),
    moved_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (consumer_group, topic, partition)
) WITH (fillfactor = 20);

-- When a saga is to be woken: by a timer that it has set, or ('~retry') because a step of it waits. A claim holds for
-- moments and is renewed while it is worked on: the timers of a worker that died are claimed by the next.
CREATE TABLE erp.saga_timers (
    saga_id uuid NOT NULL,
    name text NOT NULL,
    saga_type text NOT NULL,
    tenant uuid NOT NULL REFERENCES erp.tenants,
    due_at timestamptz NOT NULL,
    -- The saga's version that it follows from: what is older changes nothing.
    version bigint NOT NULL,
    claimed_until timestamptz NOT NULL DEFAULT '-infinity',
    -- Why it could not be dealt with when it was due; it is tried again.
    error text,
    PRIMARY KEY (saga_id, name)
) WITH (fillfactor = 70);
CREATE INDEX saga_timers_due ON erp.saga_timers (due_at);

-- Events that sagas of a type could not deal with, and the later ones of their streams, which wait behind them. What is
-- settled stays, to be asked about.
CREATE TABLE erp.dead_letters (
    letter bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    saga_type text NOT NULL,
    tenant uuid NOT NULL REFERENCES erp.tenants,
    position bigint NOT NULL CHECK (position > 0),
    stream_type text NOT NULL,
    stream_id uuid NOT NULL,
    version bigint NOT NULL,
    type text NOT NULL,
    -- NULL: it waits behind one that has an error.
    error text,
    tries integer NOT NULL DEFAULT 0,
    parked_at timestamptz NOT NULL DEFAULT now(),
    retry boolean NOT NULL DEFAULT false,
    settled text CHECK (settled IN ('retried', 'discarded')),
    settled_at timestamptz,
    settled_by text,
    reason text,
    CHECK ((settled IS NULL) = (settled_at IS NULL)),
    CHECK (settled <> 'discarded' OR coalesce(reason, '') <> '' AND coalesce(settled_by, '') <> '')
);
CREATE UNIQUE INDEX dead_letters_open ON erp.dead_letters (saga_type, stream_id, position) WHERE settled IS NULL;
CREATE INDEX dead_letters_discarded ON erp.dead_letters (saga_type, position) WHERE settled = 'discarded';

GRANT SELECT ON erp.partition_positions, erp.saga_timers, erp.dead_letters TO erp_reader;
GRANT SELECT, INSERT, UPDATE ON erp.partition_positions, erp.dead_letters TO erp_saga;
GRANT SELECT, INSERT, UPDATE, DELETE ON erp.saga_timers TO erp_saga;
