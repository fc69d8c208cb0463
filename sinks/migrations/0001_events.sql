-- Every accepted event, once. Ordered for reads by type and time; the skip index answers "is this id stored?".
CREATE TABLE IF NOT EXISTS events
(
    tenant        LowCardinality(String),
    event_id      String,
    event_type    LowCardinality(String),
    timestamp     DateTime64(3, 'UTC'),
    received_at   DateTime64(3, 'UTC'),
    inserted_at   DateTime64(3, 'UTC') DEFAULT now64(3, 'UTC'),
    user_id       String,
    session_id    String,
    source        LowCardinality(String),
    slot          UInt16,
    chunk         UInt64,
    campaign_id   LowCardinality(String),
    creative_id   LowCardinality(String),
    segment       LowCardinality(String),
    channel       LowCardinality(String),
    order_id      String,
    subtype       LowCardinality(String),
    is_holdout    Bool,
    backfill      Bool,
    amount_micros Int64,
    pack          LowCardinality(String),
    version       LowCardinality(String),
    key_id        LowCardinality(String),
    extra         UInt16,
    properties    String CODEC(ZSTD(1)),
    context       String CODEC(ZSTD(1)),
    late_arrival  Bool MATERIALIZED NOT backfill AND received_at - timestamp > 86400,
    INDEX by_event_id event_id TYPE bloom_filter(0.001) GRANULARITY 1,
    INDEX by_user user_id TYPE bloom_filter(0.01) GRANULARITY 1,
    INDEX by_inserted_at inserted_at TYPE minmax GRANULARITY 1,
    INDEX by_received_at received_at TYPE minmax GRANULARITY 1
)
ENGINE = ReplacingMergeTree
PARTITION BY toYYYYMM(timestamp)
ORDER BY (tenant, event_type, toDate(timestamp), user_id, timestamp, event_id)
TTL toDateTime(received_at) + INTERVAL 36 MONTH
SETTINGS index_granularity = 8192;
