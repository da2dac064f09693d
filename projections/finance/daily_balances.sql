-- What was booked on each account, by currency and day, within each bucket of 16,384 positions. A closed
-- bucket never changes, so a report as known at any position is the buckets closed by then plus the lines since.
--
-- Strict as finance_lines is, in the same ways.

CREATE TABLE finance_daily_balances (
    tenant UUID,
    bucket UInt64,
    account LowCardinality(String),
    currency LowCardinality(String),
    posting_date Date32,
    debit Decimal(38, 4),
    credit Decimal(38, 4),
    position UInt64
)
ENGINE = ReplacingMergeTree
ORDER BY (tenant, bucket, account, currency, posting_date);

SELECT
    tenant,
    bucket,
    each.account::String::LowCardinality(String) AS account,
    currency,
    posting_date,
    sum(toDecimal128(ifNull(each.debit, '0'), 4)
        + throwIf(isNull(each.debit) = isNull(each.credit), 'a line has one of debit and credit')) AS debit,
    sum(toDecimal128(ifNull(each.credit, '0'), 4)
        + throwIf(NOT match(coalesce(each.debit, each.credit, ''), '^[0-9]{1,34}([.][0-9]{1,4})?$'),
            'an amount is digits with at most four decimals')) AS credit,
    -- Of the bucket's last event, with which it is closed.
    (bucket + 1) * 16384 AS position
FROM (
    WITH
        JSONExtract(data, 'Tuple(
            posting_date Nullable(String), currency Nullable(String),
            lines Array(Tuple(account Nullable(String), debit Nullable(String), credit Nullable(String)))
        )') AS said,
        toDate32(said.posting_date::String) AS day
    SELECT
        tenant,
        intDiv(position - 1, 16384) + throwIf(empty(said.lines), 'an entry has lines') AS bucket,
        day + throwIf(toString(day) != said.posting_date, 'a date is YYYY-MM-DD and exists') AS posting_date,
        said.currency::String::LowCardinality(String) AS currency,
        said.lines AS lines
    FROM events
)
ARRAY JOIN lines AS each
GROUP BY tenant, bucket, account, currency, posting_date;
