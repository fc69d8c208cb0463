"""From Kafka to rows: deduplicate, tag late events, roll up windows, keep per-user state, score, detect, alert."""
