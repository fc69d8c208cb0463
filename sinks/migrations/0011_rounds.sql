-- The daily rounds of a model: which day, in which run of the model (`since`: its first day), and what was known: events
-- received before `known_by`. A replay reads them to see what the round saw, though later events are stored by now.
CREATE TABLE IF NOT EXISTS rounds
(
    tenant   LowCardinality(String),
    model    LowCardinality(String),
    as_of    DateTime64(3, 'UTC'),
    since    DateTime64(3, 'UTC'),
    known_by DateTime64(3, 'UTC'),
    version  UInt64
)
ENGINE = ReplacingMergeTree(version)
ORDER BY (tenant, model, as_of)
TTL toDateTime(as_of) + INTERVAL 36 MONTH;

-- Whether the row is the verdict on a closed bucket as the events give it, or what was announced while it happened.
ALTER TABLE anomalies ADD COLUMN IF NOT EXISTS settled Bool DEFAULT false;
