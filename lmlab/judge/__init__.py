"""Can a judge rank the answers of models at all, and how does it rank them: answers, metrics, judges, fitness, verdicts."""
