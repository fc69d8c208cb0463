-- One row per incident, the newest version holds. `evidence` is the JSON that explains it.
CREATE TABLE IF NOT EXISTS alerts
(
    tenant          LowCardinality(String),
    alert_id        String,
    rule_id         LowCardinality(String),
    subject         String,
    severity        LowCardinality(String),
    state           LowCardinality(String),
    title           String,
    evidence        String,
    value           Nullable(Float64),
    threshold       Nullable(Float64),
    link            String,
    raised_at       DateTime64(3, 'UTC'),
    updated_at      DateTime64(3, 'UTC'),
    acknowledged_at Nullable(DateTime64(3, 'UTC')),
    acknowledged_by String,
    resolved_at     Nullable(DateTime64(3, 'UTC')),
    resolved_by     String,
    version         UInt64
)
ENGINE = ReplacingMergeTree(version)
ORDER BY (tenant, alert_id)
TTL toDateTime(raised_at) + INTERVAL 13 MONTH;

-- Which channel was told of which incident: at most one notification per incident and channel.
CREATE TABLE IF NOT EXISTS notifications
(
    tenant   LowCardinality(String),
    alert_id String,
    channel  LowCardinality(String),
    kind     LowCardinality(String),
    sent_at  DateTime64(3, 'UTC'),
    outcome  String,
    version  UInt64
)
ENGINE = ReplacingMergeTree(version)
ORDER BY (tenant, alert_id, channel, kind)
TTL toDateTime(sent_at) + INTERVAL 13 MONTH;

-- Data-quality readings of a tenant and minute of receipt, one row a dimension of quality.
CREATE TABLE IF NOT EXISTS data_quality
(
    tenant  LowCardinality(String),
    minute  DateTime('UTC'),
    metric  LowCardinality(String),
    value   Nullable(Float64),
    n       UInt64,
    version UInt64
)
ENGINE = ReplacingMergeTree(version)
PARTITION BY toYYYYMM(minute)
ORDER BY (tenant, metric, minute)
TTL minute + INTERVAL 13 MONTH;
