-- What a day counted, so that a read over months need not look at every event. Recomputed from `events` whenever something
-- of the day changes, a day and family at a time in one insert; a value that is gone stays as a row with events = 0.
-- family: which rows were counted (api/rollups/families.py). dimension, value: all of them ('', ''), or those of one value.
-- users: the numbers of their users (`user_numbers`). The highest revision holds.
CREATE TABLE IF NOT EXISTS daily_rollups
(
    tenant    LowCardinality(String),
    family    LowCardinality(String),
    dimension LowCardinality(String),
    day       Date32,
    value     String,
    events    UInt64,
    micros    Int128,
    users     AggregateFunction(groupBitmap, UInt32),
    revision  UInt64
)
ENGINE = ReplacingMergeTree(revision)
PARTITION BY toYYYYMM(day)
ORDER BY (tenant, family, dimension, day, value)
-- Rows are wide: a read of ninety must not read thousands beside them, nor put many parts together.
SETTINGS index_granularity = 256, min_age_to_force_merge_seconds = 600, min_age_to_force_merge_on_partition_only = 1;

-- A dense number for each user that a rollup counted, from 1 on, for ever: sets of them are small and quick to unite.
CREATE TABLE IF NOT EXISTS user_numbers
(
    tenant  LowCardinality(String),
    user_id String,
    number  UInt32
)
ENGINE = MergeTree
ORDER BY (tenant, user_id);

-- How far rollups go: all days before `before` but the `dirty` ones hold every event that was inserted before `until`.
-- dirty_orders, dirty_customers: days besides these of which only what counts orders, or first orders, may be other.
-- definition: a fingerprint of what the families count; other than the reader's own, the rollups do not hold for it.
CREATE TABLE IF NOT EXISTS rollup_coverage
(
    tenant          LowCardinality(String),
    definition      String,
    until           DateTime64(3, 'UTC'),
    before          Date32,
    dirty           Array(Date32),
    dirty_orders    Array(Date32),
    dirty_customers Array(Date32),
    revision        UInt64
)
ENGINE = ReplacingMergeTree(revision)
ORDER BY tenant;

-- What moved when a day was counted again, because events came late or were taken out: before and after, where they differ.
CREATE TABLE IF NOT EXISTS corrections
(
    tenant        LowCardinality(String),
    found_at      DateTime64(3, 'UTC'),
    day           Date32,
    family        LowCardinality(String),
    dimension     LowCardinality(String),
    value         String,
    events_before UInt64,
    events_after  UInt64,
    micros_before Int128,
    micros_after  Int128,
    users_before  UInt64,
    users_after   UInt64
)
ENGINE = ReplacingMergeTree
PARTITION BY toYYYYMM(found_at)
ORDER BY (tenant, found_at, day, family, dimension, value)
TTL toDateTime(found_at) + INTERVAL 13 MONTH;
