-- What happened to each order: one row per event, of which the first one (not `later`) says who ordered. A row
-- that changes the lines has the skus of the whole order as it is then, and the order's total as `amount`. That of
-- a shipment or a return is what it makes in revenue, without tax and shipping; a shipment says it by sku too.
--
-- `day`: on which it was placed, shipped or returned. Names, addresses and tokens are not taken over.
--
-- What is missing or of another kind is NULL to JSONExtract. All is asked in one throwIf, which else adds 0: to
-- plan this SELECT costs more than to carry it out on a few events, and each function of it adds to that.

CREATE TABLE sales_orders (
    tenant UUID,
    later Bool,
    position UInt64,
    order_id UUID,
    kind LowCardinality(String),
    day Date32,
    customer_id String,
    customer_tier LowCardinality(String),
    currency LowCardinality(String),
    warehouse LowCardinality(String),
    skus Array(LowCardinality(String)),
    nets Array(Decimal(38, 4)),
    amount Decimal(38, 4),
    payment_id Nullable(UUID),
    reason Nullable(String),
    code Nullable(String),
    INDEX kinds kind TYPE set(8),
    -- A page of a hundred orders asks for a hundred at once.
    INDEX orders order_id TYPE bloom_filter(0.001),
    INDEX days day TYPE minmax,
    INDEX customers customer_id TYPE bloom_filter
)
ENGINE = ReplacingMergeTree
ORDER BY (tenant, later, position);

SELECT
    tenant,
    version > 1 AS later,
    position + throwIf(
        (kind = 'placed') = later
        OR isNull(multiIf(
            kind = 'placed', said.customer_id || said.customer_tier || said.currency || said.warehouse,
            kind = 'confirmed', toString(payment_id),
            kind = 'cancelled', said.reason || said.code,
            ''))
        OR toString(day) != written
        OR NOT match(ifNull(worth, ''), '^-?[0-9]{1,34}([.][0-9]{1,4})?$')
        OR empty(said.lines) AND (has_content OR kind = 'shipped')
        OR kind = 'shipped'
            AND NOT match(toString(said.lines.net), '^[[](\'-?[0-9]{1,34}([.][0-9]{1,4})?\',?)+[]]$'),
        'an order is placed first, and says who ordered, from where and when; with lines come skus and prices; a
         shipment and a return have a day and what they make, a confirmation a payment, a cancellation a reason'
    ) AS position,
    order_id,
    kind,
    toDate32(written) AS day,
    ifNull(said.customer_id, '') AS customer_id,
    ifNull(said.customer_tier, '') AS customer_tier,
    ifNull(said.currency, '') AS currency,
    ifNull(said.warehouse, '') AS warehouse,
    said.lines.sku::Array(String) AS skus,
    if(kind = 'shipped', said.lines.net, [])::Array(Decimal(38, 4)) AS nets,
    worth::Decimal(38, 4) AS amount,
    toUUID(said.payment_id) AS payment_id,
    said.reason AS reason,
    said.code AS code
FROM (
    WITH
        JSONExtract(data, 'Tuple(
            customer_id Nullable(String), customer_tier Nullable(String), currency Nullable(String),
            warehouse Nullable(String), placed_on String, shipped_on String, returned_on String,
            lines Array(Tuple(sku Nullable(String), net Nullable(String))),
            pricing Tuple(total Nullable(String)),
            net Nullable(String), payment_id Nullable(String), reason Nullable(String), code Nullable(String)
        )') AS said
    SELECT
        tenant, version, position, stream_id AS order_id, said,
        substring(type, length('sales.order.') + 1) AS kind,
        kind IN ('placed', 'line_added', 'line_removed') AS has_content,
        multiIf(
            kind = 'placed', said.placed_on, kind = 'shipped', said.shipped_on,
            kind = 'returned', said.returned_on, '1970-01-01') AS written,
        multiIf(has_content, said.pricing.total, kind IN ('shipped', 'returned'), said.net, '0') AS worth
    FROM events
);
