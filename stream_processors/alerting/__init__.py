"""From readings to incidents: which alerts are raised, kept and resolved."""
