"""Dead letters that come back."""
