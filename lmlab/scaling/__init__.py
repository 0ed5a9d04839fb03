"""How loss, rate and batch depend on size and data: published laws, fits to one's own runs, and curves drawn on to their end.

numpy only.
"""
