"""Experiments of many runs: searches, comparisons, studies, explanations, and the recomputation of their figures."""
