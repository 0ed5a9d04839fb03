"""Models of other projects: their files as runs, and runs as their files."""
