"""The watcher: merges window cells of all workers, finds anomalies, judges alert rules, scores churn."""
