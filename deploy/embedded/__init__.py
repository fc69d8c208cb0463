"""Servers that stand in for Kafka and ClickHouse on one machine, speaking the same protocols."""
