"""The metrics once more, in plain Python over the raw events: it shares only their definition with the pipeline."""
