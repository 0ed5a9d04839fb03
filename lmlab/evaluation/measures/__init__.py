"""Figures of any text without a judge: repetition, copying from training text, known words, loss under a reference model."""
