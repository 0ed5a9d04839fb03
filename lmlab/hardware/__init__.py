"""Hardware detection and choices: device, threads, precision, compilation, memory, measured peak.

`machine` and `memory` need no torch; the others import it.
"""
