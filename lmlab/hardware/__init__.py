"""Hardware detection and choices: device, threads, precision, compilation, memory, measured peak.

Names are looked up on first use: `detect` and memory need no torch, the others import it.
"""
