"""Training: the step, the loop around it, its state, its display, and the policy of this machine."""
