"""A simulated rewards-app business: seeded, in event time, with the truth about itself on the side.

`Business` plays the business and yields the events as they truly happened; `Mangler` turns those into what a network
and buggy clients make of them (duplicates, late, malformed, an outage); `Truth` keeps what was sent and what it means.
"""
