"""lmlab's own server as a judge: a model that can't judge is found unfit, whether it refuses the prompts or writes anything."""

import dataclasses

import pytest

from benchmarks.judges import questions_for
from lmlab.judge.client import REJECTED, Judge, JudgeSettings
from lmlab.judge.fitness import examined, fitness_of
from lmlab.model.build import build_model
from lmlab.model.initial import initialise
from lmlab.recipe.model import GPT

QUESTIONS = questions_for(5, 3)


@pytest.mark.parametrize("method", ["score", "pairwise"])
@pytest.mark.parametrize("context, refused", [(200, True), (8192, False)])
def test_a_random_model_is_unfit_as_a_judge(served, serving, tmp_path, method, context, refused):
    shape = GPT(layers=1, heads=1, width=8, context=context, positions="rotary", init="torch", tied=False)
    model = build_model(shape, served.tokenizer.vocabulary_size)
    initialise(model, 3)
    judged_by = dataclasses.replace(served, model=model.eval())
    with serving(judged_by) as client:
        address = f"{str(client.base_url).rstrip('/')}/v1"
        settings = JudgeSettings(address=address, model="tiny", method=method, tokens=8)
        replies = examined(Judge(settings=settings, folder=tmp_path), QUESTIONS, 3)
    found = fitness_of(replies, QUESTIONS, 3)
    assert not found.fit and "replies" in [one.name for one in found.failed]
    assert (REJECTED in str(replies.to_json())) is refused
