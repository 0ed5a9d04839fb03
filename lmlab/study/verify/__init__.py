"""Recomputing the figures of a file."""
