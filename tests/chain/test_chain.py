"""A chain on a tiny text: its runs, what is left out when it is called again, its orders, and its verification."""

import json
import shutil

import numpy as np
import pytest
import scipy.stats

from lmlab import LabError
from lmlab.chain.definition import load_chain
from lmlab.chain.orders import TOGETHER, orders_of
from lmlab.chain.rows import ModelRow
from lmlab.chain.running import Surroundings, run_chain
from lmlab.cli import main
from lmlab.runs import Run
from lmlab.training.display import Quiet

CHAIN = """
format = 1
name = "tiny"
[[bases]]
name = "short"
recipe = "shakespeare-cpu"
settings = {{ {settings}, train.steps = 2 }}
[[bases]]
name = "long"
recipe = "shakespeare-cpu"
settings = {{ {settings}, train.steps = 12 }}
[[bases]]
name = "given"
run = "tiny-short"
[[tunings]]
name = "all"
data = "{data}"
settings = {{ data.template = "plain", train.epochs = 1, train.batch = 8, train.device = "cpu", evaluate.sample_tokens = 4 }}
[judge]
data = "{data}"
part = "test"
tokens = 4
"""
SETTINGS = (
    'data.corpus = "{corpus}", data.tokenizer = "bytes", data.separator = "\\\\n", data.split = "hash", model.layers = 1, '
    "model.heads = 1, model.width = 8, model.context = 80, schedule.warmup = 0, evaluate.every = 2, train.batch = 4, "
    "train.device = 'cpu', evaluate.prompts = []"
)


@pytest.fixture
def file(tmp_path):
    corpus, data = tmp_path / "text.txt", tmp_path / "tasks.json"
    corpus.write_text("\n".join(f"Line {n} says {n * n} again and again." for n in range(150)))
    records = [{"instruction": f"Say {n}.", "input": "", "output": f"{n} it is"} for n in range(40)]
    data.write_text(json.dumps(records))
    settings = SETTINGS.format(corpus=corpus.as_posix())
    path = tmp_path / "chain.toml"
    path.write_text(CHAIN.format(settings=settings, data=data.as_posix()))
    return path


def test_a_chain_trains_tunes_compares_and_goes_on_where_it_was(file, tmp_path, capsys):
    runs = tmp_path / "runs"
    assert main(["chain", str(file), "--runs", str(runs), "--json"]) == 0
    value = json.loads(capsys.readouterr().out)
    assert [(one["base"], one["tuning"]) for one in value["models"]] == [
        (base, tuning) for base in ("short", "long", "given") for tuning in (None, "all")
    ]
    own = json.loads((runs / "tiny-long" / "summary.json").read_text())["best"]
    assert value["models"][2]["base_loss"] == pytest.approx(own["bits_per_byte"])
    assert value["models"][3]["base_loss"] == value["models"][2]["base_loss"]
    assert len(value["figures"]["chrF"]) == 3  # the bases don't answer
    assert set(value["follows_the_loss"]) == set(value["figures"])
    assert (runs / "chain-tiny" / "chain.md").read_text().count("\n| tiny-") == 6
    assert Run(runs / "tiny-given-all").origin()["parent"]["id"] == Run(runs / "tiny-short").id

    before = {path: path.stat().st_mtime_ns for path in runs.rglob("metrics.jsonl")}
    shutil.rmtree(runs / "tiny-long-all")
    assert main(["chain", str(file), "--runs", str(runs), "--quiet"]) == 0
    after = {path: path.stat().st_mtime_ns for path in runs.rglob("metrics.jsonl")}
    assert [path.parent.name for path in before if before[path] != after[path]] == ["tiny-long-all"]

    written = runs / "chain-tiny" / "chain.json"
    capsys.readouterr()
    assert main(["verify", str(written), "--runs", str(runs)]) == 0
    (
        written.parent / "judged.json"
    ).unlink()  # without the answers the scores of each question are what figures follow from
    assert main(["verify", str(written), "--runs", str(runs), "--pack"]) == 0
    assert main(["verify", str(written), "--runs", str(tmp_path / "none")]) == 0  # from the archive
    changed = json.loads(written.read_text())
    changed["models"][3]["valid_loss"] += 0.01
    written.write_text(json.dumps(changed))
    assert main(["verify", str(written), "--runs", str(runs)]) == 1
    assert "models[3].valid_loss" in capsys.readouterr().out

    file.write_text(file.read_text().replace("train.steps = 12", "train.steps = 13"))
    chain = load_chain(file)
    around = Surroundings(runs=runs, options=lambda: {"display": Quiet()}, progress=None, say=lambda line: None)
    with pytest.raises(LabError, match="tiny-long is another experiment: its train.steps is 12, not 13"):
        run_chain(chain, around)


def row(base, tuning, loss):
    return ModelRow(
        name=f"{base}-{tuning}", base=base, tuning=tuning, id="0", step=1, base_loss=loss, valid_loss=None, epochs=None
    )


def test_the_order_is_kendalls_tau_over_the_tuned_models():
    losses, scores = [4.0, 3.0, 3.5, 2.0, 2.5], [1.0, 2.0, 4.0, 3.0, 5.0]
    rows = [row(str(number), "all", loss) for number, loss in enumerate(losses)]
    rows.append(row("base", None, 0.1))
    found = orders_of(rows, {"chrF": [*scores, 99.0]})["chrF"]
    assert list(found) == ["all"]
    theirs = scipy.stats.kendalltau(-np.array(losses), scores)
    assert (found["all"].tau, found["all"].p_value) == pytest.approx((theirs.statistic, theirs.pvalue))


def test_models_of_different_tunings_are_not_compared_with_each_other():
    losses = [4.0, 3.0, 2.0]
    rows = [row(str(number), tuning, loss) for tuning in ("one", "two") for number, loss in enumerate(losses)]
    # Within each tuning the order is that of the loss, whatever the tuning adds.
    found = orders_of(rows, {"chrF": [1.0, 2.0, 3.0, 0.3, 0.2, 0.1]})["chrF"]
    assert {name: one.tau for name, one in found.items()} == pytest.approx({"one": 1, "two": -1, TOGETHER: 1})
    assert orders_of(rows[:2], {"chrF": [1.0, 2.0]}) == {}
