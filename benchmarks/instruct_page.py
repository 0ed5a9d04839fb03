"""The tables of docs/studies/instruct.md: a chain of base models, tunings and answers, published without any text of the questions.

    lmlab chain examples/assistant.toml
    python -m benchmarks.instruct_page --chain RUNS/chain-assistant --rates RUNS/chain-rates --runs RUNS
    python -m benchmarks.instruct_page                      # the page again, from what is published

The first form publishes: it writes docs/studies/instruct/chain.json, the plot, and the archive of the runs, from which
`lmlab verify docs/studies/instruct/chain.json` computes each figure again.
"""

from __future__ import annotations

import argparse
import shutil
import sys
import tempfile
from pathlib import Path

from benchmarks.published_studies import DOCS
from benchmarks.render import fill
from benchmarks.study_sources import context_of_runs
from lmlab import LabError
from lmlab.chain.answers import answers_from
from lmlab.chain.page import chain_table, order_lines
from lmlab.chain.result import FILE, ChainResult, chain_result, read_chain
from lmlab.chain.rows import ModelRow
from lmlab.chain.verifying import pack_chain, verify_chain
from lmlab.experiment.instruct import epoch_rows
from lmlab.files import write_json, write_text
from lmlab.runs import Run
from lmlab.study.verify.bundle import NAME, unpack

PAGE = DOCS / "instruct.md"
FOLDER, RATES = DOCS / "instruct", DOCS / "instruct-rates"
PLOT = "answers.png"
COMMAND = ["python", "-m", "benchmarks.instruct_page"]


def main() -> int:
    """Publish, where a chain is given, and write the page."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.instruct_page", description=(__doc__ or "").split("\n")[0]
    )
    parser.add_argument("--chain", type=Path, help="the folder of the chain's result")
    parser.add_argument("--rates", type=Path, help="the same of assistant-rates.toml")
    parser.add_argument("--runs", type=Path, help="the folder of their runs")
    flags = parser.parse_args()
    try:
        for chain, folder in ((flags.chain, FOLDER), (flags.rates, RATES)):
            if chain is not None:
                if flags.runs is None:
                    raise LabError("a chain is published with --runs, the folder of its runs: add it")
                print(publish(chain, folder, flags.runs))
        write_text(PAGE, page(PAGE.read_text(encoding="utf-8")))
    except LabError as error:
        print(f"instruct_page: {error}", file=sys.stderr)
        return 1
    return 0


def publish(chain: Path, folder: Path, runs: Path) -> str:
    """Write values, plot and archive; return a line about what of it holds."""
    folder.mkdir(parents=True, exist_ok=True)
    value = dict(read_chain(chain / FILE))
    write_json(folder / FILE, value)
    if (chain / PLOT).exists():
        shutil.copy(chain / PLOT, folder / PLOT)
    archive, size = pack_chain(folder / FILE, runs)
    write_json(folder / FILE, {**value, "context": context_of_runs(folder / NAME, COMMAND)})
    return f"{verify_chain(folder / FILE, runs).line()}; {archive.name} {size:,} bytes"


def page(before: str) -> str:
    """The page with the tables of what is published."""
    texts = {}
    if (FOLDER / FILE).is_file():
        result, curves = published(FOLDER)
        orders = "\n".join(f"- {line}" for line in order_lines(result))
        texts |= {"models": chain_table(result), "orders": orders, "curves": curves}
    if (RATES / FILE).is_file():
        result, curves = published(RATES)
        texts |= {"rates": chain_table(result), "rate-curves": curves}
    return fill(before, texts)


def published(folder: Path) -> tuple[ChainResult, str]:
    """A published result, and the table of its validation losses by epoch."""
    value = read_chain(folder / FILE)
    rows = [ModelRow(**row) for row in value["models"]]
    result = chain_result(str(value["name"]), rows, answers_from(value["answers"]))
    with tempfile.TemporaryDirectory() as runs:
        unpack(folder / NAME, Path(runs))
        return result, curves_table(result, Path(runs))


def curves_table(result: ChainResult, runs: Path) -> str:
    """A row a tuned model: its validation loss after each epoch, the kept one in bold."""
    rows: list[tuple[str, list[str]]] = []
    for row in result.rows:
        if row.tuning is None:
            continue
        run = Run(runs / row.name.rpartition("@")[0])
        every = run.recipe().evaluate.every
        found = epoch_rows(run.read_lines("metrics"), every, row.step)
        rows.append((row.name, [f"**{cells[3]}**" if cells[4] else cells[3] for cells in found]))
    most = max(len(cells) for _, cells in rows)
    lines = [
        f"| model | {' | '.join(f'epoch {number}' for number in range(most))} |",
        f"|---|{'---:|' * most}",
        *(f"| {name} | {' | '.join([*cells, *['-'] * (most - len(cells))])} |" for name, cells in rows),
    ]
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main())
