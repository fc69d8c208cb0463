-- A day's first sign-ups and its orders, person by person, each day in the arrays of one row: small copies of what months of
-- history are asked about again and again. Counted again as `daily_rollups` are. The highest revision holds.
-- users: numbers (`user_numbers`). times: of the first sign-up; its campaign, creative, segment and channel beside it.
CREATE TABLE IF NOT EXISTS daily_signups
(
    tenant    LowCardinality(String),
    day       Date32,
    users     Array(UInt32),
    times     Array(Int64),
    campaigns Array(LowCardinality(String)),
    creatives Array(LowCardinality(String)),
    segments  Array(LowCardinality(String)),
    channels  Array(LowCardinality(String)),
    revision  UInt64
)
ENGINE = ReplacingMergeTree(revision)
PARTITION BY toYYYYMM(day)
ORDER BY (tenant, day)
SETTINGS min_age_to_force_merge_seconds = 600, min_age_to_force_merge_on_partition_only = 1;

-- times: of the order's first event. signups: of the user's first sign-up, 2^60 where there is none. firsts: of the user's
-- first order ever. All in milliseconds since 1970. micros: the amount, in millionths.
CREATE TABLE IF NOT EXISTS daily_orders
(
    tenant   LowCardinality(String),
    day      Date32,
    users    Array(UInt32),
    times    Array(Int64),
    micros   Array(Int64),
    signups  Array(Int64),
    firsts   Array(Int64),
    revision UInt64
)
ENGINE = ReplacingMergeTree(revision)
PARTITION BY toYYYYMM(day)
ORDER BY (tenant, day)
SETTINGS min_age_to_force_merge_seconds = 600, min_age_to_force_merge_on_partition_only = 1;

-- Days of which only what follows users from their sign-up on may be other.
ALTER TABLE rollup_coverage ADD COLUMN IF NOT EXISTS dirty_lives Array(Date32) AFTER dirty_customers;
