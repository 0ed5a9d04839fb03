"""Studies: runs of a grid of settings, shared by workers, and the effects of their factors."""
