"""A report of runs on one page: plain values first, then HTML or Markdown."""
