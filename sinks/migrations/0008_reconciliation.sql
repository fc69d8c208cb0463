-- What the ledger says against what is there, by tenant, minute of receipt and check; the newest version holds. The rows
-- of tenant '' and check `round` say that the reconciliation is alive: minutes looked at, and how many are still open.
CREATE TABLE IF NOT EXISTS reconciliation
(
    tenant     LowCardinality(String),
    minute     DateTime('UTC'),
    what       LowCardinality(String),
    expected   UInt64,
    found      UInt64,
    difference Int64,
    checked_at DateTime64(3, 'UTC'),
    version    UInt64
)
ENGINE = ReplacingMergeTree(version)
PARTITION BY toYYYYMM(minute)
ORDER BY (tenant, minute, what)
TTL minute + INTERVAL 13 MONTH;
