-- The state of a user, absolute; a cache of what `events` says, written for readers. Times are NULL until they happened.
CREATE TABLE IF NOT EXISTS user_state
(
    tenant            LowCardinality(String),
    user_id           String,
    first_seen        DateTime64(3, 'UTC'),
    last_seen         DateTime64(3, 'UTC'),
    last_active       Nullable(DateTime64(3, 'UTC')),
    signed_up_at      Nullable(DateTime64(3, 'UTC')),
    first_purchase_at Nullable(DateTime64(3, 'UTC')),
    last_purchase_at  Nullable(DateTime64(3, 'UTC')),
    unsubscribed_at   Nullable(DateTime64(3, 'UTC')),
    events            UInt64,
    purchases         UInt64,
    monetary_micros   Int64,
    sessions          UInt64,
    delivered         Map(LowCardinality(String), UInt64),
    opened            Map(LowCardinality(String), UInt64),
    clicked           UInt64,
    segment           LowCardinality(String),
    segment_at        DateTime64(3, 'UTC'),
    version           UInt64
)
ENGINE = ReplacingMergeTree(version)
ORDER BY (tenant, user_id);
