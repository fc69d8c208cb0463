"""Funnels: what is asked, what can be a step, each way through the steps, and the answer."""
