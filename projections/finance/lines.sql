-- The lines of all posted entries: what every report of the general ledger adds up.
--
-- The bucket comes before the account, because a report takes closed buckets from finance_daily_balances and
-- only the open one from here. Small granules, because a ledger picks one account out of every bucket.
--
-- What is missing or of another kind is NULL to JSONExtract: the casts to String throw on it. throwIf adds 0.
-- toDate32 alone would take February 30th for March 2nd, toDecimal128 alone would cut off decimals.

CREATE TABLE finance_lines (
    tenant UUID,
    bucket UInt64,
    account LowCardinality(String),
    posting_date Date32,
    position UInt64,
    line UInt32,
    currency LowCardinality(String),
    debit Decimal(38, 4),
    credit Decimal(38, 4),
    entry UUID,
    journal LowCardinality(String),
    series LowCardinality(String),
    number UInt64,
    memo String,
    reference String,
    party Nullable(String),
    dimensions Map(LowCardinality(String), String),
    INDEX days posting_date TYPE minmax
)
ENGINE = ReplacingMergeTree
ORDER BY (tenant, bucket, account, posting_date, position, line)
SETTINGS index_granularity = 1024;

SELECT
    tenant,
    intDiv(position - 1, 65536) AS bucket,
    each.account::String AS account,
    posting_date,
    position,
    line
        + throwIf(isNull(each.debit) = isNull(each.credit), 'a line has one of debit and credit')
        + throwIf(NOT match(coalesce(each.debit, each.credit, ''), '^[0-9]{1,34}([.][0-9]{1,4})?$'),
            'an amount is digits with at most four decimals')
        + throwIf(NOT startsWith(each.dimensions::String, '{'), 'dimensions are an object') AS line,
    currency,
    toDecimal128(ifNull(each.debit, '0'), 4) AS debit,
    toDecimal128(ifNull(each.credit, '0'), 4) AS credit,
    entry,
    journal,
    series,
    number,
    -- A line that says nothing of its own is explained by the entry.
    if(each.memo::String = '', memo, each.memo::String) AS memo,
    reference,
    each.party AS party,
    JSONExtract(each.dimensions::String, 'Map(String, String)') AS dimensions
FROM (
    WITH
        JSONExtract(data, 'Tuple(
            journal Nullable(String), posting_date Nullable(String), currency Nullable(String),
            memo Nullable(String), reference Nullable(String),
            lines Array(Tuple(
                account Nullable(String), debit Nullable(String), credit Nullable(String),
                memo Nullable(String), dimensions Nullable(String), party Nullable(String)
            ))
        )') AS said,
        toDate32(said.posting_date::String) AS day
    SELECT
        tenant,
        position + throwIf(empty(said.lines), 'an entry has lines') AS position,
        stream_id AS entry,
        said.journal::String AS journal,
        series,
        number + throwIf(number = 0, 'a posted entry has a number') AS number,
        day + throwIf(toString(day) != said.posting_date, 'a date is YYYY-MM-DD and exists') AS posting_date,
        said.currency::String AS currency,
        said.memo::String AS memo,
        said.reference::String AS reference,
        said.lines AS lines
    FROM events
)
ARRAY JOIN lines AS each, arrayEnumerate(lines) AS line;
