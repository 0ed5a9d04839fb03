"""From text to answers in one file: base models, their tunings, a comparison of the answers, and whether scores follow the loss."""
