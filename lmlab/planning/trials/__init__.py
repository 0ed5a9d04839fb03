"""What a step takes here: trials of real steps, their stored results, and what is extrapolated from them."""
