"""From scores to outcomes, figures and controls: ties, constant, shuffled and swapped scorers, chance, groups."""

import math

import numpy as np
import pytest

from lmlab.evaluation.tasks import Item, Option, Task, reader_of, same_answer, same_prompt
from lmlab.evaluation.tasks.controls import controls, corrupt
from lmlab.evaluation.tasks.figures import clusters_of, figures_of
from lmlab.evaluation.tasks.outcomes import RIGHT, TIE, UNSCORABLE, WRONG, OptionScores, decide, spelled
from lmlab.evaluation.tasks.pairs import Compared, Side, verdicts

PAIRS = Task(
    name="pairs",
    about="",
    source="",
    files=("pairs.jsonl",),
    read=reader_of(lambda record: pair("a", "b")),
    styles=("whole sentence",),
    corruption="none",
    positions_mean=False,
)
CHOICES = Task(
    name="choices",
    about="",
    source="",
    files=("choices.jsonl",),
    read=reader_of(lambda record: pair("a", "b")),
    styles=("normalised per byte", "completion", "normalised per token"),
)


def pair(good, bad):
    return Item(options=(Option("", good), Option("", bad)), gold=0)


def scores_of(items, nats, *, greedy=None, scorable=None, tokens=None):
    """OptionScores of these nats, [items][options]."""
    shape = (len(items), max(len(item.options) for item in items))
    found = {name: np.zeros(shape, np.int64) for name in ("tokens", "bytes", "answer_bytes", "text_bytes")}
    present, values = np.zeros(shape, bool), np.zeros(shape)
    for row, item in enumerate(items):
        for column, option in enumerate(item.options):
            present[row, column], values[row, column] = True, nats[row][column]
            found["tokens"][row, column] = 1 if tokens is None else tokens[row][column]
            found["bytes"][row, column] = len(option.answer.encode())
            found["answer_bytes"][row, column] = option.answer_bytes
            found["text_bytes"][row, column] = len(option.text.encode())
    return OptionScores(
        nats=values,
        **found,
        present=present,
        gold=np.array([item.gold for item in items]),
        greedy=np.zeros(len(items), bool) if greedy is None else np.array(greedy),
        scorable=np.ones(len(items), bool) if scorable is None else np.array(scorable),
    )


def test_an_item_is_right_only_above_every_other_option():
    values = np.array([[3.0, 1, 2], [3, 3, 2], [1, 3, 3], [2, 2, -math.inf], [0, 0, 0]])
    found = decide(values, np.zeros(5, np.int64), np.array([True, True, True, True, False]))
    assert found.tolist() == [RIGHT, TIE, WRONG, TIE, UNSCORABLE]
    assert spelled(found) == "1=0=?"


def test_a_constant_scorer_gets_nothing_where_the_right_sentence_always_comes_first():
    items = [pair("a", "b")] * 50
    scores = scores_of(items, [(7.0, 7.0)] * 50)
    assert figures_of(PAIRS, items, scores).primary.estimate == 0.0
    found = controls(scores, "whole sentence")
    # What numpy.argmax makes of it, as in lm-evaluation-harness.
    assert found.constant == 0.0 and found.first == 1.0
    assert np.mean(np.argmax(-scores.nats, axis=1) == 0) == found.first


def test_a_swapped_scorer_gets_what_is_left_without_ties():
    generator = np.random.default_rng(0)
    items = [pair("a", "b")] * 200
    nats = generator.integers(0, 4, size=(200, 2)).astype(float)
    scores = scores_of(items, nats)
    figures = figures_of(PAIRS, items, scores)
    ties = figures.ties["whole sentence"]
    assert ties == int((nats[:, 0] == nats[:, 1]).sum()) > 0
    assert controls(scores, "whole sentence").swapped == pytest.approx(1 - figures.primary.estimate - ties / 200)


def test_shuffled_values_give_chance():
    generator = np.random.default_rng(1)
    items = [same_prompt("q", ["a", "bb", "ccc", "d"][: 3 + place % 2], 0) for place in range(3000)]
    scores = scores_of(items, [[0.0, *generator.random(3)] for _ in items])
    figures = figures_of(CHOICES, items, scores)
    assert figures.primary.estimate > 0.9
    assert figures.chance == pytest.approx((1 / 3 + 1 / 4) / 2)
    found = controls(scores, "completion")
    assert found.shuffled == pytest.approx(figures.chance, abs=0.03)
    assert found.swapped is None


def test_the_shortest_option_wins_the_length_control():
    items = [
        same_prompt("q", ["long answer", "no"], 1),
        same_prompt("q", ["ab", "cd"], 0),
        same_prompt("q", ["a", "bbb"], 1),
    ]
    assert controls(scores_of(items, [(1, 2)] * 3), "completion").shortest == pytest.approx(1 / 3)


def test_styles_divide_by_tokens_and_by_bytes_without_the_space_before():
    items = [same_prompt("q", ["four", "ninebytes"], 0)]
    scores = scores_of(items, [(8.0, 9.0)], tokens=[(2, 3)])
    assert scores.values("completion").tolist() == [[-8.0, -9.0]]
    assert scores.values("normalised per token").tolist() == [[-4.0, -3.0]]
    assert scores.values("normalised per byte").tolist() == [[-2.0, -1.0]]
    assert {style: spelled(scores.outcomes(style)) for style in CHOICES.styles} == {
        "completion": "1",
        "normalised per token": "0",
        "normalised per byte": "0",
    }
    # The right answer's tokens spell " four", 5 bytes.
    assert scores.bits_per_byte() == pytest.approx(8.0 / math.log(2) / 5)


def test_a_last_word_is_right_where_each_token_was_the_likeliest():
    items = [same_prompt("q", ["w"], 0)] * 3
    scores = scores_of(items, [(1,)] * 3, greedy=[True, False, True], scorable=[True, True, False])
    assert spelled(scores.outcomes("last word")) == "10?"
    found = controls(scores, "last word")
    assert (found.constant, found.shuffled, found.swapped, found.shortest) == (0.0, None, None, None)


def standing(share, count, gold=None):
    items = [same_prompt("q", ["a", "b"], 0 if gold is None else gold(place)) for place in range(count)]
    nats = [
        [float(option != item.gold) if place < share * count else float(option == item.gold) for option in range(2)]
        for place, item in enumerate(items)
    ]
    return figures_of(CHOICES, items, scores_of(items, nats))


def test_an_accuracy_is_marked_by_its_interval_around_the_baselines():
    assert standing(0.55, 100, gold=lambda place: place % 2).standing == "at chance"
    assert standing(0.55, 4000, gold=lambda place: place % 2).standing == "above"
    assert standing(0.45, 4000, gold=lambda place: place % 2).standing == "below chance"
    # As of BoolQ: above one half, and below always saying yes.
    found = standing(0.58, 4000, gold=lambda place: int(place % 10 < 6))
    assert found.majority == pytest.approx(0.6) and found.standing == "not above the majority class"
    assert found.baseline == pytest.approx(0.6)


def test_the_most_frequent_word_is_a_baseline_where_there_is_nothing_to_choose_from():
    items = [same_prompt("q", ["him" if place % 4 else "her"], 0) for place in range(20)]
    figures = figures_of(PAIRS, items, scores_of(items, [(1,)] * 20))
    assert (figures.chance, figures.majority) == (0.0, 0.75)
    # The right sentence always comes first: choosing it always says nothing.
    assert figures_of(PAIRS, [pair("a", "b")] * 5, scores_of([pair("a", "b")] * 5, [(1, 2)] * 5)).majority is None


def test_what_so_many_items_show_shrinks_with_their_number():
    small, large = (standing(0.5, count, gold=lambda place: place % 2) for count in (100, 10_000))
    assert small.smallest_above == pytest.approx(0.138, abs=0.001)
    assert small.smallest_above > 5 * large.smallest_above
    assert small.smallest_between(0.2) > small.smallest_between(0.1)


def test_nothing_is_claimed_of_a_task_without_a_scorable_item():
    items = [pair("a", "b")]
    figures = figures_of(PAIRS, items, scores_of(items, [(1, 2)], scorable=[False]))
    assert figures.standing == "unknown" and figures.smallest_above == math.inf


def test_groups_add_up_to_the_whole():
    task = Task(**{**vars(PAIRS), "groupings": ("field", "set")})
    items = [
        Item(options=(Option("", "a"), Option("", "b")), gold=0, groups=("x" if place % 3 else "y", f"set{place % 6}"))
        for place in range(60)
    ]
    nats = np.random.default_rng(2).random((60, 2))
    figures = figures_of(task, items, scores_of(items, nats))
    for groups in figures.groups.values():
        assert sum(found.right for found in groups.values()) == figures.primary.right
        assert sum(found.trials for found in groups.values()) == 60
    assert list(figures.groups["set"]) == [f"set{number}" for number in range(6)]


def test_items_of_one_passage_are_one_cluster_and_others_alone():
    items = [same_prompt("q", ["a", "b"], 0, cluster=name) for name in ("p", "", "p", "", "r")]
    assert clusters_of(items).tolist() == [0, 1, 0, 2, 3]
    assert clusters_of([same_prompt("q", ["a"], 0)]) is None


def test_corrupted_prompts_keep_the_answers():
    removed = corrupt([same_prompt("a prompt", ["x", "y"], 1)], "removed")[0]
    assert [option.text for option in removed.options] == [" x", " y"] and removed.gold == 1
    prompts = ["one two three four five Ann", "one two three four five Eve"]
    (shuffled,) = corrupt([same_answer(prompts, "left", 0)], "shuffled")
    first, second = (option.prompt for option in shuffled.options)
    assert sorted(first.split()) == sorted(prompts[0].split()) and first != prompts[0]
    assert second == first.replace("Ann", "Eve")
    assert corrupt([same_answer(prompts, "left", 0)], "shuffled") == [shuffled]


def side(name, right, above=True):
    return Side(name=name, outcomes=np.where(right, RIGHT, WRONG).astype(np.uint8), above=above)


def test_a_pair_is_ranked_beyond_chance_and_not_at_chance():
    generator = np.random.default_rng(3)
    good, poor = generator.random(1000) < 0.7, generator.random(1000) < 0.6
    compared = [
        Compared(task="one", first=side("a", good), second=side("b", poor), clusters=None),
        Compared(task="two", first=side("a", poor), second=side("b", good), clusters=None),
        Compared(task="three", first=side("a", good), second=side("b", good), clusters=None),
        Compared(task="four", first=side("a", good, False), second=side("b", poor, False), clusters=None),
    ]
    found = verdicts(compared)
    assert [one.kind for one in found] == ["better", "worse", "indistinguishable", "not ranked"]
    # Three are tested together; the one that isn't ranked isn't.
    assert found[0].adjusted_p_value == pytest.approx(3 * found[0].paired.p_value)


def test_a_pair_is_compared_on_what_both_could_score():
    first = Side(name="a", outcomes=np.array([RIGHT, UNSCORABLE, WRONG, RIGHT], np.uint8), above=True)
    second = Side(name="b", outcomes=np.array([WRONG, RIGHT, UNSCORABLE, RIGHT], np.uint8), above=True)
    (found,) = verdicts([Compared(task="t", first=first, second=second, clusters=None)])
    assert (found.paired.items, found.paired.first_only, found.paired.second_only) == (2, 1, 0)
