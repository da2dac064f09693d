-- Fiscal years, with their first and last day.

CREATE TABLE finance_fiscal_years (
    tenant UUID,
    year UInt16,
    start Date32,
    end Date32,
    position UInt64
)
ENGINE = ReplacingMergeTree
ORDER BY (tenant, year, position);

SELECT
    tenant,
    number + throwIf(toString(number) != said.year, 'a year is a number') AS year,
    day + throwIf(toString(day) != said.start, 'a date is YYYY-MM-DD and exists') AS start,
    -- It starts with a month, and has twelve.
    addYears(day, 1) - 1 AS end,
    position
FROM (
    WITH
        JSONExtract(data, 'Tuple(year Nullable(String), start Nullable(String))') AS said
    SELECT tenant, position, said, toUInt16(said.year::String) AS number, toDate32(said.start::String) AS day
    FROM events
);
