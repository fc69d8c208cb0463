-- What the models said, why, and how well they do.
CREATE TABLE IF NOT EXISTS predictions
(
    tenant        LowCardinality(String),
    model         LowCardinality(String),
    model_version LowCardinality(String),
    subject_id    String,
    as_of         DateTime64(3, 'UTC'),
    prediction_id String,
    probability   Float64,
    tier          LowCardinality(String),
    base          Float64,
    contributions Map(String, Float64),
    features      Map(String, Float64),
    label         Nullable(UInt8),
    version       UInt64
)
ENGINE = ReplacingMergeTree(version)
PARTITION BY toYYYYMM(as_of)
ORDER BY (tenant, model, subject_id, as_of)
TTL toDateTime(as_of) + INTERVAL 13 MONTH;

CREATE TABLE IF NOT EXISTS evaluations
(
    tenant        LowCardinality(String),
    model         LowCardinality(String),
    model_version LowCardinality(String),
    as_of         DateTime64(3, 'UTC'),
    metric        LowCardinality(String),
    value         Float64,
    n             UInt64,
    version       UInt64
)
ENGINE = ReplacingMergeTree(version)
ORDER BY (tenant, model, metric, as_of)
TTL toDateTime(as_of) + INTERVAL 36 MONTH;

CREATE TABLE IF NOT EXISTS anomalies
(
    tenant       LowCardinality(String),
    anomaly_id   String,
    metric_id    LowCardinality(String),
    dimension    String,
    bucket       DateTime('UTC'),
    type         LowCardinality(String),
    severity     LowCardinality(String),
    expected     Float64,
    actual       Float64,
    deviation    Float64,
    score        Float64,
    detector     LowCardinality(String),
    detected_at  DateTime64(3, 'UTC'),
    version      UInt64
)
ENGINE = ReplacingMergeTree(version)
PARTITION BY toYYYYMM(bucket)
ORDER BY (tenant, bucket, metric_id, dimension, type)
TTL bucket + INTERVAL 13 MONTH;
