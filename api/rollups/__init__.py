"""Daily rollups: what they count, how a day is counted, and how questions are answered from them."""
