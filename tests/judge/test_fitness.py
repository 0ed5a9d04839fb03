"""What an examination finds of judges whose faults are planted, asked over HTTP; docs/judging.md has the measured power."""

import numpy as np
import pytest

from benchmarks.judges import local_judge, questions_for
from benchmarks.scripted_judges import Scripted
from lmlab import LabError
from lmlab.judge.client import Judge, JudgeSettings
from lmlab.judge.fitness import examined, fitness_of
from lmlab.judge.rounds import replies_from_json
from lmlab.judge.texts import (
    LADDER,
    REPLACED_PERCENT,
    RUNGS,
    as_list,
    corrupted,
    covariates,
    known_candidates,
    padded,
    polite,
)
from tests.judge.scripted import served

QUESTIONS = questions_for(20, 3)


def examination(method, **planted):
    replies = examined(local_judge(method, Scripted(**planted)), QUESTIONS, 3)
    return fitness_of(replies, QUESTIONS, 3)


@pytest.mark.parametrize("method", ["score", "listwise", "pairwise"])
def test_an_honest_judge_with_noise_is_fit_also_over_http_and_in_a_fence(method, tmp_path):
    script = Scripted(noise=10.0, fence=True)
    with served(script.reply) as server:
        judge = Judge(settings=JudgeSettings(address=server.address, model="m", method=method), folder=tmp_path)
        replies = examined(judge, QUESTIONS[:10], 3)
    assert fitness_of(replies, QUESTIONS[:10], 3).fit
    here = examined(local_judge(method, script), QUESTIONS[:10], 3)
    np.testing.assert_array_equal(replies.scores(), here.scores())


@pytest.mark.parametrize(
    ("method", "planted", "check"),
    [
        ("score", {"length": 20.0}, "style: longer"),
        ("score", {"lists": 30.0}, "style: as a list"),
        ("listwise", {"polite": 30.0}, "style: politer"),
        ("listwise", {"place": 40.0}, "place in the prompt"),
        ("pairwise", {"place": 40.0}, "order of a pair"),
        ("score", {"failing": 0.4}, "replies"),
        ("score", {"echo": 60.0}, "control: echo of the question"),
        ("score", {"random": True}, "ladder: words replaced"),
        ("pairwise", {"random": True}, "ladder: words replaced"),
    ],
)
def test_a_planted_fault_is_found_by_its_check(method, planted, check):
    found = examination(method, **planted)
    assert not found.fit and check in [one.name for one in found.failed]


def test_a_judge_that_never_answers_as_asked_is_unfit_and_nothing_is_lost():
    found = examination("score", failing=1.0)
    values = next(check for check in found.checks if check.name == "replies").values
    assert not found.fit and values["failed"] == values["asked"] == 13 * len(QUESTIONS)
    assert np.isnan(found.spread) and found.needs() == [] and np.isnan(found.shows(100))


def test_slopes_at_equal_quality_are_those_that_were_planted():
    found = examination("score", length=10.0, lists=5.0, noise=1.0).slopes.of
    assert found["length"].low < 10.0 < found["length"].high
    assert found["list"].low < 5.0 < found["list"].high
    assert abs(found["politeness"].slope) < 3.0


def test_the_same_replies_read_from_a_file_give_the_same_result():
    replies = examined(local_judge("pairwise", Scripted(noise=20.0, failing=0.1)), QUESTIONS, 3)
    again = replies_from_json(replies.to_json())
    assert fitness_of(again, QUESTIONS, 3).to_json() == fitness_of(replies, QUESTIONS, 3).to_json()
    with pytest.raises(LabError, match="damaged"):
        replies_from_json({**replies.to_json(), "asks": [[99, [0], 0]] * len(replies.asks)})


def test_each_rung_replaces_the_words_of_the_one_before_and_more():
    references = [question.reference for question in QUESTIONS]
    for place, reference in enumerate(references):
        words = reference.split()
        changed = [set()]
        for percent in REPLACED_PERCENT:
            got = corrupted(place, references, percent / 100, 3).split()
            assert len(got) == len(words)
            changed.append({number for number, word in enumerate(got) if word != words[number]})
            assert changed[-2] <= changed[-1] and len(changed[-1]) == -(-len(words) * percent // 100)


def test_styles_keep_the_words_and_show_in_the_covariates():
    text = "One is here. Two is there."
    assert as_list(text) == "- One is here.\n- Two is there."
    assert all(text in made(text) for made in (polite, padded))
    assert len(padded(text)) >= 2 * len(text)
    found = covariates([text, as_list(text), polite(text), padded(text)])
    assert found["list"] == [0, 1, 0, 0] and found["politeness"] == [0, 0, 1, 0]
    assert found["length"][0] < found["length"][2] < found["length"][3] or found["length"][0] < found["length"][3]


def test_the_candidates_are_the_same_for_the_same_seed_and_no_reference_stays_in_its_place():
    one, two = known_candidates(QUESTIONS, 5), known_candidates(QUESTIONS, 5)
    assert one == two
    by_name = {candidate.name: candidate.texts for candidate in one}
    assert set(LADDER) <= set(by_name) and len(RUNGS) == 4
    assert all(a != b for a, b in zip(by_name["reference"], by_name["shuffled reference"], strict=True))
    with pytest.raises(LabError, match="at least 5 questions"):
        known_candidates(QUESTIONS[:4], 5)
