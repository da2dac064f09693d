-- All that changes stock: what moves goods or their value (`moved`), and what only changes how much of them is
-- promised. Each row says by how much, so whatever is asked about stock is a sum.
--
-- One table for both, for whoever asks what is available needs both. A promise has no day of the business.
--
-- What is missing or of another kind is NULL to JSONExtract. All is asked in one throwIf, which else adds 0: to
-- plan this SELECT costs more than to carry it out on a few events, and each function of it adds to that. NULL
-- among the figures is passed over when they are joined, and so there are too few of them.

CREATE TABLE inventory_changes (
    tenant UUID,
    moved Bool,
    position UInt64,
    kind LowCardinality(String),
    warehouse LowCardinality(String),
    sku LowCardinality(String),
    currency LowCardinality(String),
    effective_at Date32,
    recorded_at DateTime64(6, 'UTC'),
    quantity_change Decimal(38, 6),
    reserved_change Decimal(38, 6),
    value_change Decimal(38, 4),
    on_hand_after Decimal(38, 6),
    value_after Decimal(38, 4),
    reference String,
    order_id Nullable(String),
    counterpart Nullable(String),
    reason Nullable(String),
    INDEX days effective_at TYPE minmax,
    INDEX skus sku TYPE bloom_filter
)
ENGINE = ReplacingMergeTree
ORDER BY (tenant, moved, position)
SETTINGS index_granularity = 1024;

SELECT
    tenant,
    moved,
    position + throwIf(
        isNull(said.warehouse || said.sku || if(moved, said.currency || said.reference, ''))
        OR toString(effective_at) != written
        OR NOT match(arrayStringConcat(figures, ' '),
            '^(-?[0-9]{1,32}([.][0-9]{1,6})? ){3}(-?[0-9]{1,34}([.][0-9]{1,4})?( |$)){2}$'),
        'stock has warehouse and sku; a movement has day, currency, reference, changes and what is there after
         it; a promise has a quantity') AS position,
    kind,
    assumeNotNull(said.warehouse) AS warehouse,
    assumeNotNull(said.sku) AS sku,
    ifNull(said.currency, '') AS currency,
    toDate32(written) AS effective_at,
    recorded_at,
    toDecimal128(assumeNotNull(figures[1]), 6) AS quantity_change,
    toDecimal128(assumeNotNull(figures[2]), 6) AS reserved_change,
    toDecimal128(assumeNotNull(figures[3]), 6) AS on_hand_after,
    toDecimal128(assumeNotNull(figures[4]), 4) AS value_change,
    toDecimal128(assumeNotNull(figures[5]), 4) AS value_after,
    ifNull(said.reference, '') AS reference,
    said.order_id AS order_id,
    said.counterpart AS counterpart,
    said.reason AS reason
FROM (
    WITH
        JSONExtract(data, 'Tuple(
            warehouse Nullable(String), sku Nullable(String), currency Nullable(String), effective_at String,
            quantity_change Nullable(String), value_change Nullable(String), on_hand_after Nullable(String),
            value_after Nullable(String), quantity Nullable(String), reference Nullable(String),
            order_id Nullable(String), counterpart Nullable(String), reason Nullable(String)
        )') AS said
    SELECT
        tenant, position, recorded_at, said,
        substring(type, length('inventory.stock.') + 1) AS kind,
        kind NOT IN ('reserved', 'released', 'reservation_expired') AS moved,
        if(moved, said.effective_at, '1970-01-01') AS written,
        -- What is shipped was promised, and is not any more.
        multiIf(
            kind = 'shipped', said.quantity_change, moved, '0', kind = 'reserved', said.quantity, '-' || said.quantity
        ) AS reserved_change,
        if(moved,
            [said.quantity_change, reserved_change, said.on_hand_after, said.value_change, said.value_after],
            ['0', reserved_change, '0', '0', '0']) AS figures
    FROM events
);
