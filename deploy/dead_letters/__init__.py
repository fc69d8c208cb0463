"""Dead letters that come back: read, judged again, sent through the collector's own gateway, and remembered."""
