-- How far people came from the entries of a day, for declared funnels whose window is over: who came no further than the
-- entry, and of all others the times of the steps (milliseconds since 1970) on the way that goes furthest. Users by number
-- (`user_numbers`), in shards by its remainder. Counted out of `daily_steps` and `daily_orders`. The highest revision holds.
CREATE TABLE IF NOT EXISTS daily_ways
(
    tenant   LowCardinality(String),
    funnel   LowCardinality(String),
    day      Date32,
    shard    UInt8,
    singles  AggregateFunction(groupBitmap, UInt32),
    users    Array(UInt32),
    ways     Array(Array(Int64)),
    revision UInt64
)
ENGINE = ReplacingMergeTree(revision)
PARTITION BY toYYYYMM(day)
ORDER BY (tenant, funnel, day, shard)
SETTINGS min_age_to_force_merge_seconds = 600, min_age_to_force_merge_on_partition_only = 1;

-- Days that were counted again, and ways that touch them not yet.
ALTER TABLE rollup_coverage ADD COLUMN IF NOT EXISTS dirty_ways Array(Date32) AFTER dirty_lives;
