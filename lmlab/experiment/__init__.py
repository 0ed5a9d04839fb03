"""One ordinary run from recipe to summary: start, resume, branch, finish, and its model loaded again."""

from lmlab.experiment.beginning import Parent, parent_of
from lmlab.experiment.benching import bench
from lmlab.experiment.finish import Outcome
from lmlab.experiment.loaded import Loaded, load
from lmlab.experiment.own_text import recipe_for
from lmlab.experiment.proving import Proof, prove
from lmlab.experiment.resuming import resume, resume_same
from lmlab.experiment.scoring import evaluate
from lmlab.experiment.start import train, with_rate

__all__ = [
    "Loaded",
    "Outcome",
    "Parent",
    "Proof",
    "bench",
    "evaluate",
    "load",
    "parent_of",
    "prove",
    "recipe_for",
    "resume",
    "resume_same",
    "train",
    "with_rate",
]
