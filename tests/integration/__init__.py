"""Parts of the pipeline against real servers: broker, warehouse, workers."""
