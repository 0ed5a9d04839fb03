"""Speed and results against named peers, measured in one run on one machine, as JSON; the tables of docs/performance.md.

    python -m benchmarks.cpu speed --nanogpt PATH --out benchmarks/results/speed.json
    python -m benchmarks.render benchmarks/results/*.json

The tests run none of the measurements: a figure is worth something on an otherwise idle machine only.
"""
