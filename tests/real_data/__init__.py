"""Real public data sets as events of the marketing taxonomy, with numbers to expect that were computed another way."""
