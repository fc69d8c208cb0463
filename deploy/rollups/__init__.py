"""Daily rollups for whoever runs the pipeline: the watcher's statements, and how they are checked and begun anew."""
