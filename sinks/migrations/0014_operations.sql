-- What each API process has counted since it began (`started`), as it stood in that minute: calls by outcome, and what its
-- reads took of the warehouse. origin: the address of the API, or `probe of` it: the watcher's own calls. The highest
-- version holds.
CREATE TABLE IF NOT EXISTS operations
(
    tenant       LowCardinality(String),
    minute       DateTime('UTC'),
    origin       LowCardinality(String),
    started      DateTime64(3, 'UTC'),
    calls        UInt64,
    good_calls   UInt64,
    queries      UInt64,
    query_micros UInt64,
    query_bytes  UInt64,
    version      UInt64
)
ENGINE = ReplacingMergeTree(version)
PARTITION BY toYYYYMM(minute)
ORDER BY (tenant, origin, started, minute)
TTL minute + INTERVAL 13 MONTH;
