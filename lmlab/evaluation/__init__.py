"""Evaluation of a model: losses over a whole split, or over a fixed sample of it, by token, byte and unit."""
