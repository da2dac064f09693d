-- Items that can be kept in stock, which never change.

CREATE TABLE inventory_items (
    tenant UUID,
    sku String,
    name String,
    unit String,
    reorder_point Decimal(38, 6),
    position UInt64
)
ENGINE = ReplacingMergeTree
ORDER BY (tenant, sku, position);

SELECT
    tenant,
    assumeNotNull(said.sku) AS sku,
    assumeNotNull(said.name) AS name,
    assumeNotNull(said.unit) AS unit,
    toDecimal128(assumeNotNull(said.reorder_point), 6) AS reorder_point,
    position + throwIf(
        isNull(said.sku || said.name || said.unit || said.reorder_point)
        OR NOT match(said.reorder_point, '^[0-9]{1,32}([.][0-9]{1,6})?$'),
        'an item has sku, name, unit and reorder point') AS position
FROM (
    SELECT
        tenant, position,
        JSONExtract(data, 'Tuple(
            sku Nullable(String), name Nullable(String), unit Nullable(String), reorder_point Nullable(String)
        )') AS said
    FROM events
);
