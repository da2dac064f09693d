-- What happened to each order: one row per event, of which the first one (not `later`) says who ordered. A row
-- that changes the lines has the whole order as it is then; one of a shipment or a return has what it makes in
-- revenue (`net`, without tax and shipping), and a shipment that of each sku too.
--
-- `day`: on which it was placed, shipped or returned. Names, addresses and tokens are not taken over.
--
-- What is missing or of another kind is NULL to JSONExtract. All is asked in one throwIf, which else adds 0: to
-- plan this SELECT costs more than to carry it out on a few events, and each function of it adds to that. NULL
-- among the figures is passed over when they are joined, and so there are too few of them.

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
    subtotal Decimal(38, 4),
    discount Decimal(38, 4),
    tax Decimal(38, 4),
    shipping Decimal(38, 4),
    total Decimal(38, 4),
    net Decimal(38, 4),
    payment_id Nullable(UUID),
    reason Nullable(String),
    code Nullable(String),
    INDEX kinds kind TYPE set(8),
    INDEX orders order_id TYPE bloom_filter,
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
        OR NOT match(arrayStringConcat(figures, ' '), '^(-?[0-9]{1,34}([.][0-9]{1,4})?( |$)){6}$')
        OR (has_content OR kind = 'shipped') AND empty(said.lines)
        OR arrayExists(each -> isNull(each.sku) OR kind = 'shipped'
            AND NOT match(ifNull(each.net, ''), '^-?[0-9]{1,34}([.][0-9]{1,4})?$'), said.lines),
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
    if(kind = 'shipped', arrayMap(each -> toDecimal128(assumeNotNull(each), 4), said.lines.net), []) AS nets,
    toDecimal128(assumeNotNull(figures[1]), 4) AS subtotal,
    toDecimal128(assumeNotNull(figures[2]), 4) AS discount,
    toDecimal128(assumeNotNull(figures[3]), 4) AS tax,
    toDecimal128(assumeNotNull(figures[4]), 4) AS shipping,
    toDecimal128(assumeNotNull(figures[5]), 4) AS total,
    toDecimal128(assumeNotNull(figures[6]), 4) AS net,
    toUUID(said.payment_id) AS payment_id,
    said.reason AS reason,
    said.code AS code
FROM (
    WITH
        JSONExtract(data, 'Tuple(
            customer_id Nullable(String), customer_tier Nullable(String), currency Nullable(String),
            warehouse Nullable(String), placed_on String, shipped_on String, returned_on String,
            lines Array(Tuple(sku Nullable(String), net Nullable(String))),
            pricing Tuple(
                subtotal Nullable(String), discount Nullable(String), tax Nullable(String),
                shipping Nullable(String), total Nullable(String)
            ),
            net Nullable(String), payment_id Nullable(String), reason Nullable(String), code Nullable(String)
        )') AS said
    SELECT
        tenant, version, position, stream_id AS order_id, said,
        substring(type, length('sales.order.') + 1) AS kind,
        kind IN ('placed', 'line_added', 'line_removed') AS has_content,
        multiIf(
            kind = 'placed', said.placed_on, kind = 'shipped', said.shipped_on,
            kind = 'returned', said.returned_on, '1970-01-01') AS written,
        [
            if(has_content, said.pricing.subtotal, '0'), if(has_content, said.pricing.discount, '0'),
            if(has_content, said.pricing.tax, '0'), if(has_content, said.pricing.shipping, '0'),
            if(has_content, said.pricing.total, '0'), if(kind IN ('shipped', 'returned'), said.net, '0')
        ] AS figures
    FROM events
);
