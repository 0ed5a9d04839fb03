"""lmlab's own tasks, registered when this module is imported."""

from __future__ import annotations

from lmlab.evaluation.tasks.hellaswag import HELLASWAG
from lmlab.evaluation.tasks.last_word import LAMBADA
from lmlab.evaluation.tasks.questions import ARC_CHALLENGE, ARC_EASY, BOOLQ, COPA, OPENBOOKQA, PIQA
from lmlab.evaluation.tasks.schemas import WINOGRAD, WINOGRANDE
from lmlab.evaluation.tasks.sentences import BLIMP, COMPS
from lmlab.evaluation.tasks.task import TASKS, add_task

for task in (
    BLIMP,
    HELLASWAG,
    LAMBADA,
    ARC_EASY,
    ARC_CHALLENGE,
    PIQA,
    WINOGRANDE,
    WINOGRAD,
    COPA,
    OPENBOOKQA,
    BOOLQ,
    COMPS,
):
    add_task(task)

__all__ = ["TASKS"]
