"""The metrics once more, in plain Python over the raw events, sharing nothing with the pipeline but their definition."""
