"""Comparing runs: what differs, what each cost, which is better."""
