"""Dead letters: the patch language and selections."""
