"""Plans for GPUs that are not here, and what a training costs."""
