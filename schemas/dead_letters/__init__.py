"""Dead letters: which are meant (`selection`), how they are mended (`patch`), how they are read (`query`)."""
