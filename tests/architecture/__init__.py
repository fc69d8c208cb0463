"""What the tree itself promises: imports, sizes, settings, names."""
