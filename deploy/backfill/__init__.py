"""Files of old events into the pipeline: read, decode or map, and hand to the gateway, as fast as Kafka takes them."""
