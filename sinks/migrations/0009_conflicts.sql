-- Every accepted line that was dropped because its id had come before, as it came. `body`: what makes two lines differ.
CREATE TABLE IF NOT EXISTS duplicates
(
    tenant        LowCardinality(String),
    event_id      String,
    inserted_at   DateTime64(3, 'UTC') DEFAULT now64(3, 'UTC'),
    event_type    LowCardinality(String),
    timestamp     DateTime64(3, 'UTC'),
    received_at   DateTime64(3, 'UTC'),
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
    body          UInt64 MATERIALIZED cityHash64(event_type, timestamp, user_id, properties),
    INDEX by_inserted_at inserted_at TYPE minmax GRANULARITY 1
)
ENGINE = ReplacingMergeTree
PARTITION BY toYYYYMM(received_at)
ORDER BY (tenant, event_id, chunk, body)
TTL toDateTime(received_at) + INTERVAL 30 DAY;

-- Lines whose id stands for another event, whole, one row each. How many: SELECT count() FROM conflicts FINAL.
-- kind: what is other than in the line that stays ('winner_…'): 'user', 'body', or 'copy' where nothing is and two
-- workers stored it. moved: it was in `events` and was taken out (the ledger counts it as stage duplicate, reason
-- conflict); else it never was there. settled: ledger, windows and user states have followed. The highest revision holds.
CREATE TABLE IF NOT EXISTS conflicts
(
    tenant             LowCardinality(String),
    event_id           String,
    found_at           DateTime64(3, 'UTC'),
    kind               LowCardinality(String),
    moved              Bool,
    settled            Bool,
    winner_chunk       UInt64,
    winner_user_id     String,
    winner_received_at DateTime64(3, 'UTC'),
    revision           UInt64,
    event_type         LowCardinality(String),
    timestamp          DateTime64(3, 'UTC'),
    received_at        DateTime64(3, 'UTC'),
    user_id            String,
    session_id         String,
    source             LowCardinality(String),
    slot               UInt16,
    chunk              UInt64,
    campaign_id        LowCardinality(String),
    creative_id        LowCardinality(String),
    segment            LowCardinality(String),
    channel            LowCardinality(String),
    order_id           String,
    subtype            LowCardinality(String),
    is_holdout         Bool,
    backfill           Bool,
    amount_micros      Int64,
    pack               LowCardinality(String),
    version            LowCardinality(String),
    key_id             LowCardinality(String),
    extra              UInt16,
    properties         String CODEC(ZSTD(1)),
    context            String CODEC(ZSTD(1)),
    body               UInt64 MATERIALIZED cityHash64(event_type, timestamp, user_id, properties),
    INDEX by_found_at found_at TYPE minmax GRANULARITY 1
)
ENGINE = ReplacingMergeTree(revision)
PARTITION BY toYYYYMM(received_at)
ORDER BY (tenant, event_id, chunk, moved, body)
TTL toDateTime(received_at) + INTERVAL 13 MONTH;
