"""The best model for a budget."""
