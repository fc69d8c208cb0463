-- Users whose events are not kept: those received from `since` on, before `until`. The highest version of a span holds.
CREATE TABLE IF NOT EXISTS suppressions
(
    tenant  LowCardinality(String),
    user_id String,
    since   DateTime64(3, 'UTC'),
    until   DateTime64(3, 'UTC'),
    reason  String,
    actor   String,
    version UInt64
)
ENGINE = ReplacingMergeTree(version)
ORDER BY (tenant, user_id, since);
