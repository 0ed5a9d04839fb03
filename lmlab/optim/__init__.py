"""Optimizers: learning-rate schedules, AdamW, Muon and gradient clipping."""
