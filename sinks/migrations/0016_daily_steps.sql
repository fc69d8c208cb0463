-- A day's events that declared funnels take as steps, but for orders, which are in `daily_orders`: who, when (milliseconds
-- since 1970), and which kind of step, by number (`api/rollups/rosters.py`). The highest revision holds.
CREATE TABLE IF NOT EXISTS daily_steps
(
    tenant   LowCardinality(String),
    day      Date32,
    users    Array(UInt32),
    times    Array(Int64) CODEC(Delta(8), LZ4),
    kinds    Array(UInt8),
    revision UInt64
)
ENGINE = ReplacingMergeTree(revision)
PARTITION BY toYYYYMM(day)
ORDER BY (tenant, day)
SETTINGS min_age_to_force_merge_seconds = 600, min_age_to_force_merge_on_partition_only = 1;
