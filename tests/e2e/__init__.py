"""The whole pipeline, driven through its public doors."""
