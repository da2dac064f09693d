-- What happened to each journal entry: one row per event, of which the first one (not `later`) carries the
-- content. A draft is never edited, so the posting of a draft repeats its content and adds the number.
--
-- What is missing or of another kind is NULL to JSONExtract, and throwIf throws on it; else it adds 0.

CREATE TABLE finance_entries (
    tenant UUID,
    later Bool,
    position UInt64,
    entry UUID,
    kind LowCardinality(String),
    journal LowCardinality(String),
    posting_date Date32,
    currency LowCardinality(String),
    memo String,
    reference String,
    accounts Array(LowCardinality(String)),
    total Decimal(38, 4),
    series LowCardinality(String),
    number UInt64,
    drafted_by LowCardinality(String),
    reverses Nullable(UUID),
    reversed_by Nullable(UUID),
    INDEX kinds kind TYPE set(4),
    INDEX entries entry TYPE bloom_filter,
    INDEX days posting_date TYPE minmax,
    INDEX referred_to reference TYPE bloom_filter,
    INDEX booked_on accounts TYPE bloom_filter
)
ENGINE = ReplacingMergeTree
ORDER BY (tenant, later, position);

SELECT
    tenant,
    version > 1 AS later,
    position
        + throwIf(has_content AND empty(said.lines), 'an entry has lines')
        + throwIf(has_content AND arrayExists(each -> isNull(each), [
            said.journal, said.currency, said.memo, said.reference, said.drafted_by
        ]), 'an entry has journal, currency, memo, reference and drafted_by')
        + throwIf(kind = 'posted' AND number = 0, 'a posted entry has a number')
        + throwIf(kind = 'reversed' AND isNull(reversed_by), 'a reversal says by which entry')
        + throwIf(isNull(reverses) != isNull(said.reverses), 'an entry is named by its id') AS position,
    entry,
    kind,
    ifNull(said.journal, '') AS journal,
    day + throwIf(toString(day) != written, 'a date is YYYY-MM-DD and exists') AS posting_date,
    ifNull(said.currency, '') AS currency,
    ifNull(said.memo, '') AS memo,
    ifNull(said.reference, '') AS reference,
    arraySort(arrayDistinct(said.lines.account::Array(String))) AS accounts,
    arraySum(arrayMap(debit -> toDecimal128(debit, 4)
        + throwIf(NOT match(debit, '^[0-9]{1,34}([.][0-9]{1,4})?$'),
            'an amount is digits with at most four decimals'), debits)) AS total,
    series,
    number,
    ifNull(said.drafted_by, '') AS drafted_by,
    toUUID(said.reverses) AS reverses,
    toUUID(said.reversed_by) AS reversed_by
FROM (
    WITH
        JSONExtract(data, 'Tuple(
            journal Nullable(String), posting_date Nullable(String), currency Nullable(String),
            memo Nullable(String), reference Nullable(String),
            lines Array(Tuple(account Nullable(String), debit Nullable(String))),
            drafted_by Nullable(String), reverses Nullable(String), reversed_by Nullable(String)
        )') AS said
    SELECT
        tenant, version, position, stream_id AS entry, series, number, said,
        substring(type, length('finance.journal_entry.') + 1) AS kind,
        kind IN ('drafted', 'posted') AS has_content,
        if(has_content, ifNull(said.posting_date, ''), '1970-01-01') AS written,
        toDate32(written) AS day,
        arrayFilter(debit -> isNotNull(debit), said.lines.debit)::Array(String) AS debits
    FROM events
);
