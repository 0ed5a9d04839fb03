"""Tokens a second by batch, precision, engine and threads."""
