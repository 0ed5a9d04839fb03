"""The log-probability of each reference under a model, after the prompt that the model is asked with."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from typing import cast

import numpy as np
from numpy.typing import NDArray

from lmlab.data.progress import Progress
from lmlab.evaluation.answers import likelihoods
from lmlab.evaluation.tasks.encoding import Encoder
from lmlab.evaluation.tasks.scoring import Scorer
from lmlab.experiment.arithmetic import PLAIN, arithmetic_of
from lmlab.experiment.loaded import Loaded
from lmlab.experiment.models_of_others import Foreign
from lmlab.experiment.task_scores import encoder_of
from lmlab.generation.prompts import first_token
from lmlab.judge.questions import Question
from lmlab.model.trainable import TrainableModel
from lmlab.recipe.template import Template


@dataclass(frozen=True, kw_only=True, eq=False)
class Likelihood:
    """The log-probability of each question's reference."""

    nats: NDArray[np.float64]
    """[questions]; NaN where it can't be scored."""


def likelihood_of(
    loaded: Loaded | Foreign, template: Template, questions: Sequence[Question], progress: Progress
) -> Likelihood:
    """Return minus the log-probability of each reference after its prompt."""
    arithmetic = arithmetic_of(loaded) if isinstance(loaded, Loaded) else PLAIN
    scorer = Scorer(
        model=cast(TrainableModel, loaded.model),  # one of transformers has what scoring needs
        device=loaded.device,
        autocast=arithmetic.autocast,
        engine=arithmetic.engine,
    )
    if isinstance(loaded, Loaded):
        encoder = dataclasses.replace(encoder_of(loaded), apart=True)
    else:
        first = first_token(loaded.tokenizer)
        encoder = Encoder(tokenizer=loaded.tokenizer, context=loaded.model.context, first=first, apart=True)
    prompts = [template.prompt(question.messages) for question in questions]
    with arithmetic.products():
        found = likelihoods(scorer, encoder, prompts, [question.reference for question in questions])
    progress.advance(len(questions))
    return Likelihood(nats=found.nats)
