"""How loss, learning rate and batch size depend on model size and data: published laws, fits to one's own runs, and extrapolated
loss curves.

numpy and scipy only.
"""
