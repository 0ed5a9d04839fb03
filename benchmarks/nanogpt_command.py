"""nanoGPT by its own command line, with the flags that its README gives for a CPU, in a copy of the checkout.

The copy's data is written from lmlab's data set, so that both sides read the same tokens of any corpus; and as nanoGPT has no
flag for its seed, the copy's train.py has another number in its place. Nothing else is changed.
"""

from __future__ import annotations

import json
import pickle
import re
import shutil
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from benchmarks.commands import Finished, run_command
from benchmarks.nanogpt import DATA
from benchmarks.worker import ROOT, thread_settings
from lmlab import LabError

CONFIG = "config/train_shakespeare_char.py"
FLAGS = """
--device=cpu --compile=False --eval_iters=20 --log_interval=1 --block_size=64 --batch_size=12 --n_layer=4 --n_head=4
--n_embd=128 --max_iters=2000 --lr_decay_iters=2000 --dropout=0.0
""".split()
"""As its README gives them for a CPU."""
SEED = re.compile(r"manual_seed\(\d+")
WARMUP = 100
FLOOR = 0.1
"""Its schedule ends at a tenth of the peak rate."""


@dataclass(frozen=True, kw_only=True)
class Training:
    """One training of nanoGPT's model for a CPU, with its own schedule over its own length."""

    learning_rate: float
    max_iters: int
    seed: int = 1337

    def flags(self, out: Path) -> list[str]:
        """Its command line: a checkpoint at the end, and no evaluation but the two single batches that come with it."""
        own = {
            "learning_rate": self.learning_rate,
            "min_lr": self.learning_rate * FLOOR,
            "warmup_iters": WARMUP,
            "max_iters": self.max_iters,
            "lr_decay_iters": self.max_iters,
            "eval_interval": self.max_iters,
            "eval_iters": 1,
            "always_save_checkpoint": True,
            "out_dir": out,
        }
        return [CONFIG, *FLAGS, *(f"--{name}={value}" for name, value in own.items())]


@dataclass(frozen=True, kw_only=True)
class Score:
    """A trained model of nanoGPT's."""

    loss: float
    """Nats a token over the whole split that it is scored on."""
    parameters: dict[str, int]


class Copy:
    """A copy of a checkout, to train in."""

    def __init__(
        self, checkout: Path, folder: Path, train: np.ndarray, valid: np.ndarray, vocabulary: int, threads: int
    ) -> None:
        """Copy the code of `checkout` into the empty `folder`; `train` and `valid` are the tokens to train on and to score."""
        self.folder = folder
        self.threads = threads
        self._script = (checkout / "train.py").read_text(encoding="utf-8")
        if len(SEED.findall(self._script)) != 1:
            raise LabError(f"{checkout / 'train.py'} doesn't set its seed once: expected a checkout of nanoGPT")
        for name in ("model.py", "configurator.py", CONFIG):
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(checkout / name, folder / name)
        data = folder / "data" / DATA
        data.mkdir(parents=True)
        train.astype(np.uint16).tofile(data / "train.bin")
        valid.astype(np.uint16).tofile(data / "val.bin")
        (data / "meta.pkl").write_bytes(pickle.dumps({"vocab_size": vocabulary}))

    def train(self, training: Training) -> Finished:
        """Run its train.py to the end."""
        script = SEED.sub(f"manual_seed({training.seed}", self._script)
        (self.folder / "train.py").write_text(script, encoding="utf-8")
        command = [sys.executable, "train.py", *training.flags(self._out)]
        return run_command(command, self.folder, thread_settings(self.threads))

    def score(self) -> Score:
        """The model that was trained last."""
        command = [sys.executable, "-m", "benchmarks.nanogpt_score", str(self.folder), str(self._out / "ckpt.pt")]
        finished = run_command(command, ROOT, thread_settings(self.threads))
        found = json.loads(finished.output.splitlines()[-1])
        return Score(loss=found["loss"], parameters=found["parameters"])

    @property
    def _out(self) -> Path:
        return self.folder / "out"
