"""Daily churn predictions and live anomaly detection, as plain objects that a test can drive without a server."""
