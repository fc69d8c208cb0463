-- One-minute windows by event time, absolute per shard ("partition/partitions"); 5 min, 1 h, 24 h and 7 d are sums of them.
-- `users` is exact within a cell; users over several cells are asked of `events`.
CREATE TABLE IF NOT EXISTS windows
(
    tenant        LowCardinality(String),
    minute        DateTime('UTC'),
    event_type    LowCardinality(String),
    subtype       LowCardinality(String),
    campaign_id   LowCardinality(String),
    creative_id   LowCardinality(String),
    segment       LowCardinality(String),
    channel       LowCardinality(String),
    shard         LowCardinality(String),
    events        UInt64,
    users         UInt64,
    amount_micros Int64,
    late          UInt64,
    version       UInt64
)
ENGINE = ReplacingMergeTree(version)
PARTITION BY toYYYYMM(minute)
ORDER BY (tenant, minute, event_type, subtype, campaign_id, creative_id, segment, channel, shard);

-- How far a shard's windows and user states cover what is stored (by inserted_at); recovery recomputes from there.
CREATE TABLE IF NOT EXISTS checkpoints
(
    name          LowCardinality(String),
    shard         LowCardinality(String),
    covered_until DateTime64(3, 'UTC'),
    version       UInt64
)
ENGINE = ReplacingMergeTree(version)
ORDER BY (name, shard);
