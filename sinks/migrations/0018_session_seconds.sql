-- The length of a session so far, where an event tells it: read by every question about sessions, and costly to look for in
-- `properties` each time. Rows stored before are looked up in them as before, until they are merged.
ALTER TABLE events ADD COLUMN IF NOT EXISTS session_seconds Nullable(Int64) MATERIALIZED
    if(
        (position(properties, 'session_duration_seconds') > 0 OR position(properties, '\\u') > 0)
        AND JSONType(properties, 'session_duration_seconds') NOT IN ('Null', 'String'),
        JSONExtractInt(properties, 'session_duration_seconds'),
        NULL
    )
    AFTER late_arrival;

-- Days besides all these of which only what follows from the day before may be other.
ALTER TABLE rollup_coverage ADD COLUMN IF NOT EXISTS dirty_next_days Array(Date32) AFTER dirty_lives;
