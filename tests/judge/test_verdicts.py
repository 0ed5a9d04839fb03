"""Verdicts between models: by Student's t, whatever missing replies would have said, and at every look."""

import numpy as np
import pytest
from scipy import stats

from benchmarks.judges import local_judge, questions_for
from benchmarks.scripted_judges import Scripted
from lmlab.judge.figures import ranks_left
from lmlab.judge.rounds import Ask, Replies, ask_all, plan, replies_for
from lmlab.judge.texts import Candidate
from lmlab.judge.verdicts import compare, compared_scores, decided, difference_p_value
from lmlab.stats.multiple import holm

SCALE = (0.0, 100.0)


def scored(*rows):
    """Replies of a judge that gave these scores, one row a model; NaN is a failure."""
    table = np.array(rows, dtype=float)
    replies = Replies(method="score", names=tuple("abc"[: len(table)]), questions=table.shape[1])
    for (model, question), value in np.ndenumerate(table):
        replies.asks.append(Ask(question=question, shown=(model,), repeat=0))
        replies.values.append(() if np.isnan(value) else (float(value),))
        replies.failures.append("not JSON" if np.isnan(value) else "")
        replies.keys.append("")
    return replies


def test_p_values_and_intervals_are_those_of_the_paired_t_test_adjusted_by_holm():
    generator = np.random.default_rng(0)
    rows = np.clip(generator.normal([[50], [53], [60]], 12, size=(3, 30)), 0, 100)
    found = compare(scored(*rows), [(0, 1), (0, 2), (1, 2)])
    theirs = [stats.ttest_rel(rows[a], rows[b]) for a, b in ((0, 1), (0, 2), (1, 2))]
    np.testing.assert_allclose([one.p_value for one in found], [one.pvalue for one in theirs], rtol=1e-6)
    np.testing.assert_allclose([one.adjusted_p_value for one in found], holm([one.pvalue for one in theirs]), rtol=1e-6)
    for one, their in zip(found, theirs, strict=True):
        limits = their.confidence_interval(0.95)
        np.testing.assert_allclose([one.low, one.high], [limits.low, limits.high], rtol=1e-6)
    assert found[1].kind == "worse" and ranks_left("c", found, 3)[0] == 1


def test_a_missing_score_counts_as_the_worst_case_of_either_side():
    one, other = np.full(40, 60.0), np.full(40, 50.0)
    one[::2] += 5
    assert compared_scores([("a", "b")], [(one, other)], SCALE)[0].kind == "better"
    one[:8] = np.nan  # 20 % missing, of 12.5 points: 0 and 100 instead leave no certain sign
    found = compared_scores([("a", "b")], [(one, other)], SCALE)[0]
    assert found.kind == "indistinguishable" and found.p_value == 1.0 and found.missing == 8
    assert found.low < (0 * 8 - 50 * 8 + 12.5 * 32) / 40 and found.high > 12.5


def test_no_difference_is_no_verdict():
    assert difference_p_value(np.zeros(10)) == 1.0 and difference_p_value(np.array([5.0])) == 1.0
    found = compare(scored([50, 60, 70], [50, 60, 70]), [(0, 1)])[0]
    assert found.kind == "indistinguishable" and found.needed is None


def test_looks_hold_together_and_find_a_clear_difference():
    generator = np.random.default_rng(1)
    equal = scored(*np.clip(generator.normal(50, 15, size=(2, 100)), 0, 100))
    assert all(decided(equal, [(0, 1)], range(some))[0].kind == "indistinguishable" for some in range(5, 101, 5))
    clear = scored(*np.clip(generator.normal([[70], [30]], 15, size=(2, 100)), 0, 100))
    kinds = [decided(clear, [(0, 1)], range(some))[0].kind for some in range(5, 101, 5)]
    assert kinds[-1] == "better" and kinds.index("better") < 12


@pytest.mark.parametrize("method", ["score", "listwise", "pairwise"])
def test_every_method_ranks_better_answers_above_worse_ones_and_counts_failures(method):
    questions = questions_for(30, 5)
    good = tuple(question.reference for question in questions)
    bad = tuple(" ".join(question.reference.split()[:2]) for question in questions)
    candidates = [Candidate(name="bad", kind="model", texts=bad), Candidate(name="good", kind="model", texts=good)]
    replies = replies_for(method, candidates, 30)
    asks = plan(method, candidates, range(30), 1)
    ask_all(local_judge(method, Scripted(noise=10.0, failing=0.15)), asks, candidates, questions, replies)
    found = compare(replies, [(0, 1)])[0]
    assert found.kind == "worse" and found.missing > 0
    assert sum(replies.failed.values()) == sum(bool(one) for one in replies.failures) > 0
    assert np.isnan(replies.scores()).any()


def test_listwise_prompts_show_every_candidate_once_in_orders_that_differ():
    candidates = [Candidate(name=str(number), kind="model", texts=("x",) * 20) for number in range(5)]
    asks = plan("listwise", candidates, range(20), 1)
    assert all(sorted(ask.shown) == [0, 1, 2, 3, 4] for ask in asks)
    assert len({ask.shown for ask in asks}) > 10 and asks == plan("listwise", candidates, range(20), 1)
    pairs = plan("pairwise", candidates[:3], [0], 1)
    assert [ask.shown for ask in pairs] == [(0, 1), (1, 0), (0, 2), (2, 0), (1, 2), (2, 1)]
