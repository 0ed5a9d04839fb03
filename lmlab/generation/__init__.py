"""Text generation: sampling settings, logit filters, reproducible sampling, the decoding loop, conversations."""
