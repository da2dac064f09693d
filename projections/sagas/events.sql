-- What sagas heard and what became of their steps: one row per event, of which the first one is not `later`.
-- Each says how the saga stands after it, so how it stands is what the last one says.
--
-- All is asked in one throwIf, which else adds 0: to plan this SELECT costs more than to carry it out on a few
-- events, and each function of it adds to that.

CREATE TABLE sagas_events (
    tenant UUID,
    later Bool,
    position UInt64,
    saga_id UUID,
    saga_type LowCardinality(String),
    kind LowCardinality(String),
    status LowCardinality(String),
    recorded_at DateTime64(6, 'UTC'),
    key String,
    outcome Nullable(String),
    step UInt32,
    name LowCardinality(String),
    code Nullable(String),
    detail Nullable(String),
    dropped Array(UInt32),
    INDEX statuses status TYPE set(6),
    -- A page of a hundred sagas asks for a hundred at once.
    INDEX sagas saga_id TYPE bloom_filter(0.001)
)
ENGINE = ReplacingMergeTree
ORDER BY (tenant, later, position);

SELECT
    tenant,
    version > 1 AS later,
    position + throwIf(
        said.status NOT IN ('not_started', 'running', 'waiting', 'resting', 'ended', 'aborted')
        OR isNull(multiIf(
            kind IN ('noticed', 'held'), said.key,
            kind = 'step_done', said.name,
            kind IN ('step_refused', 'step_waits'), said.name || said.code || said.detail,
            ''))
        OR startsWith(kind, 'step_') AND step = 0
        OR kind NOT IN ('held', 'step_waits') AND JSONType(data, 'dropped') != 'Array',
        'a saga has a status and a key; a step a number and a name, and a reason if it is refused or waits'
    ) AS position,
    stream_id AS saga_id,
    stream_type AS saga_type,
    kind,
    said.status AS status,
    recorded_at,
    ifNull(said.key, '') AS key,
    said.ended AS outcome,
    said.step AS step,
    ifNull(said.name, '') AS name,
    said.code AS code,
    said.detail AS detail,
    said.dropped AS dropped
FROM (
    WITH
        JSONExtract(data, 'Tuple(
            status String, key Nullable(String), ended Nullable(String), step UInt32, name Nullable(String),
            code Nullable(String), detail Nullable(String), dropped Array(UInt32)
        )') AS said
    SELECT
        tenant, version, position, stream_id, stream_type, recorded_at, data, said,
        substring(type, length(stream_type) + 2) AS kind
    FROM events
);
