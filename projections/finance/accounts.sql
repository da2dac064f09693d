-- The chart of accounts: name and type of each account, which never change.

CREATE TABLE finance_accounts (
    tenant UUID,
    code String,
    name String,
    type LowCardinality(String),
    parent Nullable(String),
    position UInt64
)
ENGINE = ReplacingMergeTree
ORDER BY (tenant, code, position);

SELECT
    tenant,
    said.code::String AS code,
    said.name::String AS name,
    said.type::String AS type,
    said.parent AS parent,
    position + throwIf(type NOT IN ('asset', 'liability', 'equity', 'income', 'expense'),
        'an account is of one of five types') AS position
FROM (
    SELECT
        tenant, position,
        JSONExtract(data, 'Tuple(
            code Nullable(String), name Nullable(String), type Nullable(String), parent Nullable(String)
        )') AS said
    FROM events
);
