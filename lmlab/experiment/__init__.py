"""One ordinary run from recipe to summary: start, resume, branch, finish, and loading its model.

Names are imported on first use: a table of runs needs no torch.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from lmlab import lazily

if TYPE_CHECKING:
    from lmlab.experiment.asked import data_asked, names_text, recipe_asked, text_asked
    from lmlab.experiment.benching import bench
    from lmlab.experiment.budgeted import plan_after, plan_longer, plan_on_card, plan_within
    from lmlab.experiment.finish import Outcome
    from lmlab.experiment.loaded import Loaded, load
    from lmlab.experiment.parent import Parent, parent_of
    from lmlab.experiment.planned import plan
    from lmlab.experiment.proof import Proof
    from lmlab.experiment.proving import prove
    from lmlab.experiment.quality import forecast_quality
    from lmlab.experiment.resuming import resume
    from lmlab.experiment.scoring import evaluate
    from lmlab.experiment.start import train, train_or_resume, with_rate

__all__ = [
    "Loaded",
    "Outcome",
    "Parent",
    "Proof",
    "bench",
    "data_asked",
    "evaluate",
    "forecast_quality",
    "load",
    "names_text",
    "parent_of",
    "plan",
    "plan_after",
    "plan_longer",
    "plan_on_card",
    "plan_within",
    "prove",
    "recipe_asked",
    "resume",
    "text_asked",
    "train",
    "train_or_resume",
    "with_rate",
]

__getattr__ = lazily(
    __name__,
    {
        "Loaded": "loaded",
        "Outcome": "finish",
        "Parent": "parent",
        "Proof": "proof",
        "bench": "benching",
        "data_asked": "asked",
        "evaluate": "scoring",
        "forecast_quality": "quality",
        "load": "loaded",
        "names_text": "asked",
        "parent_of": "parent",
        "plan": "planned",
        "plan_after": "budgeted",
        "plan_longer": "budgeted",
        "plan_on_card": "budgeted",
        "plan_within": "budgeted",
        "prove": "proving",
        "recipe_asked": "asked",
        "resume": "resuming",
        "text_asked": "asked",
        "train": "start",
        "train_or_resume": "start",
        "with_rate": "start",
    },
)
