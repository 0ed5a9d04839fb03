"""Speed and results against named peers, measured in one run on one machine. Nothing here runs in the tests."""
