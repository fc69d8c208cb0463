"""Which channel or campaign an order is owed to: models over journeys, and reading the journeys."""
