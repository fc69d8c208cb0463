"""The collector's spool: chunks on its own disk while Kafka does not take them. `docs/back-pressure.md` explains it."""
