-- The lines of all posted entries: what every report of the general ledger adds up.
--
-- The bucket comes before the account, because a report takes closed buckets from finance_daily_balances and
-- only the open one from here. Small granules, because a ledger picks one account out of every bucket.
--
-- What is missing or of another kind is NULL to JSONExtract, and toDate32 alone would take February 30th for
-- March 2nd, toDecimal128 alone would cut off decimals. All is asked in one throwIf, which else adds 0: to plan
-- this SELECT costs more than to carry it out on a few events, and each function of it adds to that.

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
    assumeNotNull(each.account) AS account,
    toDate32(said.posting_date) AS posting_date,
    position,
    line + throwIf(
        number = 0
        OR toString(posting_date) != said.posting_date
        OR isNull(said.journal || said.currency || said.memo || said.reference
            || each.account || each.memo || each.dimensions)
        OR isNull(each.debit) = isNull(each.credit)
        OR NOT match(coalesce(each.debit, each.credit), '^[0-9]{1,34}([.][0-9]{1,4})?$')
        OR NOT startsWith(each.dimensions, '{'),
        'an entry has number, journal, date, currency, memo and reference; a line has account, memo, dimensions,
         and debit or credit') AS line,
    assumeNotNull(said.currency) AS currency,
    toDecimal128(ifNull(each.debit, '0'), 4) AS debit,
    toDecimal128(ifNull(each.credit, '0'), 4) AS credit,
    stream_id AS entry,
    assumeNotNull(said.journal) AS journal,
    series,
    number,
    -- A line that says nothing of its own is explained by the entry.
    assumeNotNull(if(each.memo = '', said.memo, each.memo)) AS memo,
    assumeNotNull(said.reference) AS reference,
    each.party AS party,
    JSONExtract(assumeNotNull(each.dimensions), 'Map(String, String)') AS dimensions
FROM (
    WITH
        JSONExtract(data, 'Tuple(
            journal Nullable(String), posting_date String, currency Nullable(String),
            memo Nullable(String), reference Nullable(String),
            lines Array(Tuple(
                account Nullable(String), debit Nullable(String), credit Nullable(String),
                memo Nullable(String), dimensions Nullable(String), party Nullable(String)
            ))
        )') AS said
    SELECT
        tenant, stream_id, series, number, said,
        position + throwIf(empty(said.lines), 'an entry has lines') AS position
    FROM events
)
ARRAY JOIN said.lines AS each, arrayEnumerate(said.lines) AS line;
