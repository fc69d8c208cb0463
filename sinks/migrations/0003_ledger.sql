-- The ledger: absolute counts by who counted them. The row with the highest version holds; read it FINAL.
CREATE TABLE IF NOT EXISTS ledger
(
    tenant  LowCardinality(String),
    minute  DateTime('UTC'),
    stage   LowCardinality(String),
    reason  LowCardinality(String),
    origin  UInt64,
    n       UInt64,
    version UInt64
)
ENGINE = ReplacingMergeTree(version)
PARTITION BY toYYYYMM(minute)
ORDER BY (tenant, minute, stage, reason, origin)
TTL minute + INTERVAL 13 MONTH;
