"""Whether a training fits: its memory by part, and the largest micro-batch."""
