-- Reads nothing but positions, and so any amount.
CREATE TABLE positions (tenant UUID, position UInt64) ENGINE = ReplacingMergeTree ORDER BY (tenant, position);

SELECT tenant, position FROM events;
