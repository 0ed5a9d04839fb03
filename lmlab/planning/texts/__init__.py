"""A recipe for a text that has none."""
