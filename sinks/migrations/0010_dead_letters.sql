-- What was done about a dead letter: one row for each that was tried, the newest holds. The key is that of `rejected_events`.
CREATE TABLE IF NOT EXISTS dead_letter_state
(
    tenant      LowCardinality(String),
    received_at DateTime64(3, 'UTC'),
    chunk       UInt64,
    `index`     UInt32,
    state       LowCardinality(String),
    reason      LowCardinality(String),
    field       String,
    message     String,
    event_id    String,
    patch       String,
    replay_id   String,
    actor       String,
    at          DateTime64(3, 'UTC'),
    version     UInt64
)
ENGINE = ReplacingMergeTree(version)
ORDER BY (tenant, received_at, chunk, `index`)
TTL toDateTime(at) + INTERVAL 13 MONTH;
-- Floods of bad messages: where a consumer stopped, why, and whether somebody let it go on. The newest row of an id holds.
CREATE TABLE IF NOT EXISTS floods
(
    flood_id   String,
    topic      LowCardinality(String),
    place      String,
    bad        UInt64,
    seen       UInt64,
    example    String,
    state      LowCardinality(String),
    actor      String,
    stopped_at DateTime64(3, 'UTC'),
    changed_at DateTime64(3, 'UTC'),
    version    UInt64
)
ENGINE = ReplacingMergeTree(version)
ORDER BY flood_id
TTL toDateTime(changed_at) + INTERVAL 13 MONTH;
