-- What every test of the machinery projects: an amount for each event of a tally.
CREATE TABLE tallies (tenant UUID, stream UUID, amount Decimal(38, 4), position UInt64)
ENGINE = ReplacingMergeTree ORDER BY (tenant, position);

SELECT position, tenant, stream_id AS stream, toDecimal128(JSONExtractString(data, 'amount'), 4) AS amount FROM events;
