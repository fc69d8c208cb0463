-- Every rejected event with its original bytes: the dead letters. One row per (chunk, index); a replayed chunk changes nothing.
CREATE TABLE IF NOT EXISTS rejected_events
(
    tenant      LowCardinality(String),
    received_at DateTime64(3, 'UTC'),
    reason      LowCardinality(String),
    field       String,
    message     String,
    key_id      LowCardinality(String),
    chunk       UInt64,
    `index`     UInt32,
    event_id    String,
    event_type  String,
    original    String CODEC(ZSTD(3)),
    encoding    LowCardinality(String)
)
ENGINE = ReplacingMergeTree
PARTITION BY toYYYYMM(received_at)
ORDER BY (tenant, received_at, chunk, `index`)
TTL toDateTime(received_at) + INTERVAL 90 DAY;
