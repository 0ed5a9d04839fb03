"""One ordinary run from recipe to summary: start, resume, branch, finish, and its model loaded again."""

from lmlab.experiment.asked import names_text, recipe_asked
from lmlab.experiment.beginning import Parent, parent_of
from lmlab.experiment.benching import bench
from lmlab.experiment.budgeted import plan_after, plan_on_card, plan_within
from lmlab.experiment.finish import Outcome
from lmlab.experiment.loaded import Loaded, load
from lmlab.experiment.own_text import recipe_for
from lmlab.experiment.planned import plan
from lmlab.experiment.proving import Proof, prove
from lmlab.experiment.quality import forecast_quality
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
    "forecast_quality",
    "load",
    "names_text",
    "parent_of",
    "plan",
    "plan_after",
    "plan_on_card",
    "plan_within",
    "prove",
    "recipe_asked",
    "recipe_for",
    "resume",
    "resume_same",
    "train",
    "with_rate",
]
