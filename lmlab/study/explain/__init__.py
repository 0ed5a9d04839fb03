"""Why two runs differ: interpolating runs, and the attribution of the difference."""
