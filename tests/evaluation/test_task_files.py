"""Items of benchmark tasks from their files: published counts, both forms of each, and refusals that name file and line."""

import bz2
import gzip
import json
import lzma
from collections import Counter

import pytest

from lmlab import LabError
from lmlab.evaluation.tasks import TASKS, records
from lmlab.evaluation.tasks import task as registry
from lmlab.evaluation.tasks.files import available, find_files, read_task
from lmlab.evaluation.tasks.selection import select
from tests.shared import shared_data

COUNTS = {
    "hellaswag": ("hellaswag", 10_042, {4}),
    "lambada": ("lambada", 5_153, {1}),
    "arc-easy": ("multiple-choice-evals", 2_376, {4}),
    "arc-challenge": ("multiple-choice-evals", 1_172, {4}),
    "piqa": ("multiple-choice-evals", 1_838, {2}),
    "winogrande": ("multiple-choice-evals", 1_267, {2}),
    "winograd": ("multiple-choice-evals", 273, {2}),
    "copa": ("multiple-choice-evals", 100, {2}),
    "openbookqa": ("multiple-choice-evals", 500, {4}),
    "boolq": ("multiple-choice-evals", 3_270, {2}),
}
"""Task -> folder of the shared data, published number of items, numbers of options."""


def written(folder, name, records):
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(f"{json.dumps(record)}\n" for record in records), encoding="utf-8")
    return path


def items_of(task, folder, records, name=None):
    written(folder, name or TASKS[task].files[0], records)
    return read_task(TASKS[task], str(folder)).items


@pytest.mark.parametrize("task", COUNTS)
def test_the_items_are_as_many_as_published(task):
    folder, count, options = COUNTS[task]
    data = read_task(TASKS[task], str(shared_data(folder)))
    assert len(data.items) == count
    assert {len(item.options) for item in data.items} == options
    assert all(0 <= item.gold < len(item.options) for item in data.items)


@pytest.mark.slow
def test_blimp_has_67_sets_of_1000_pairs_in_12_phenomena():
    data = read_task(TASKS["blimp"], str(shared_data("blimp")))
    sets = Counter(item.groups[2] for item in data.items)
    assert set(sets.values()) == {1000} and len(sets) == 67
    # The paper's twelve, and one that a set of the published files spells by itself.
    assert len({item.groups[1] for item in data.items}) == 13
    assert {item.groups[0] for item in data.items} == {"syntax", "morphology", "syntax_semantics", "semantics"}


def test_the_right_endings_of_hellaswag_are_distributed_as_counted():
    data = read_task(TASKS["hellaswag"], str(shared_data("hellaswag")))
    assert Counter(item.gold for item in data.items) == {0: 2515, 1: 2485, 2: 2584, 3: 2458}


ARC = {"question": {"stem": "What is hot?", "choices": [{"text": "ice", "label": "A"}, {"text": "fire", "label": "B"}]}}
SAME = {
    "arc-easy": (
        {"query": "Question: What is hot?", "choices": ["ice", "fire"], "gold": 1},
        {**ARC, "answerKey": "B"},
        {"question": "What is hot?", "choices": {"text": ["ice", "fire"], "label": ["1", "2"]}, "answerKey": "2"},
    ),
    "openbookqa": (
        {"query": "What is hot?", "choices": ["ice", "fire"], "gold": 1},
        {**ARC, "answerKey": "B"},
        {"question_stem": "What is hot?", "choices": {"text": ["ice", "fire"], "label": ["A", "B"]}, "answerKey": "B"},
    ),
    "piqa": (
        {"query": "Question: open a jar\n", "choices": ["turn", "push"], "gold": 0},
        {"goal": "open a jar", "sol1": "turn", "sol2": "push", "label": 0},
    ),
    "copa": (
        {"query": "The man fell, because", "choices": ["he slept.", "he ran."], "gold": 1},
        {"premise": "The man fell,.", "choice1": "He slept.", "choice2": "He ran.", "question": "cause", "label": 1},
    ),
    "winogrande": (
        {
            "context_options": ["Sarah met Maria so Sarah", "Sarah met Maria so Maria"],
            "continuation": "left.",
            "gold": 1,
        },
        {"sentence": "Sarah met Maria so _ left.", "option1": "Sarah", "option2": "Maria", "answer": "2"},
    ),
    "winograd": (
        {
            "context_options": ["It didn't fit because the box", "It didn't fit because the case"],
            "continuation": "is big.",
            "gold": 0,
        },
        {
            "text": "It didn't fit because it is big.",
            "pronoun": "it",
            "pronoun_loc": 22,
            "options": ["The box", "The case"],
            "label": 0,
        },
    ),
    "hellaswag": (
        {"activity_label": "Roof", "ctx_a": "A man sits.", "ctx_b": "he", "endings": list("abcd"), "label": 3},
        {"activity_label": "Roof", "ctx_a": "A man sits.", "ctx_b": "he", "endings": list("abcd"), "label": "3"},
    ),
}


@pytest.mark.parametrize("task", SAME)
def test_every_form_of_a_task_gives_the_same_items(task, tmp_path):
    found = [items_of(task, tmp_path / str(place), [record]) for place, record in enumerate(SAME[task])]
    assert all(items == found[0] for items in found)


def test_boolq_s_forms_differ_in_the_word_passage_alone(tmp_path):
    (ours,) = items_of(
        "boolq", tmp_path / "a", [{"query": "Passage: P.\nQuestion: is it?", "choices": ["no", "yes"], "gold": 1}]
    )
    (original,) = items_of("boolq", tmp_path / "b", [{"question": "is it", "passage": "P.", "answer": True}])
    assert ours.right.prompt == f"Passage: {original.right.prompt}"
    assert original.right.prompt == "P.\nQuestion: is it?\nAnswer:" and original.right.answer == " yes"
    assert original.cluster == "P."


def test_piqa_s_labels_are_read_from_the_file_beside(tmp_path):
    (tmp_path / "piqa").mkdir()
    (tmp_path / "piqa" / "valid-labels.lst").write_text("1\n")
    record = {"goal": "open a jar", "sol1": "push", "sol2": "turn"}
    (item,) = items_of("piqa", tmp_path, [record], name="piqa/valid.jsonl")
    assert item.right.text == "Question: open a jar\nAnswer: turn"


def test_possessive_pronouns_get_possessive_names(tmp_path):
    record = {
        "text": "Ann said her dog is ill.",
        "pronoun": "her",
        "pronoun_loc": 9,
        "options": ["Ann", "Eve"],
        "label": 1,
    }
    (item,) = items_of("winograd", tmp_path, [record])
    assert [option.text for option in item.options] == ["Ann said Ann's dog is ill.", "Ann said Eve's dog is ill."]


def test_comps_asks_for_the_property_after_either_subject(tmp_path):
    record = {"prefix_acceptable": "a sock", "prefix_unacceptable": "a pan", "property_phrase": "absorbs sweat."}
    (item,) = items_of("comps", tmp_path, [{**record, "negative_sample_type": "random"}])
    assert [option.prompt for option in item.options] == ["a sock", "a pan"]
    assert {option.answer for option in item.options} == {" absorbs sweat."}
    assert (item.gold, item.groups) == (0, ("random",))


def test_the_last_word_is_what_follows_the_last_space(tmp_path):
    (item,) = items_of("lambada", tmp_path, [{"text": "I don't care about\n\n signs"}])
    assert item.options[0].answer == " signs" and item.options[0].prompt == "I don't care about\n\n"


BAD = [
    ("arc-easy", {"query": "Q", "choices": ["a", "b"], "gold": 2}, "'gold', 0 to 1"),
    ("arc-easy", {"query": "Q", "choices": ["a"], "gold": 0}, "2 texts or more"),
    ("arc-easy", {**ARC, "answerKey": "C"}, "expected one of A, B"),
    ("arc-easy", {"question": "Q"}, "neither a 'query'"),
    ("copa", {"premise": "P.", "choice1": "a", "choice2": "b", "question": "why", "label": 0}, "cause or effect"),
    ("winogrande", {"sentence": "no blank", "option1": "a", "option2": "b", "answer": "1"}, "no _"),
    ("winograd", {"text": "x", "pronoun": "it", "pronoun_loc": 7, "options": ["a", "b"], "label": 0}, "pronoun_loc"),
    ("lambada", {"text": "word"}, "a space and a last word"),
    ("lambada", {"text": 3}, "expected a text in 'text'"),
    ("blimp", {"sentence_good": "A."}, "'sentence_bad'"),
    ("hellaswag", {"endings": ["a", "b"]}, "4 texts"),
    ("piqa", {"goal": "g", "sol1": "a", "sol2": "b"}, "'label'"),
]


@pytest.mark.parametrize("task, record, said", BAD)
def test_a_malformed_record_is_refused_with_file_and_line(task, record, said, tmp_path):
    good = {"arc-easy": SAME["arc-easy"][0], "hellaswag": SAME["hellaswag"][0]}.get(task)
    both = [record] if good is None else [good, record]
    with pytest.raises(LabError) as refused:
        items_of(task, tmp_path, both)
    line = str(refused.value)
    assert TASKS[task].files[0] in line and f"line {len(both)} " in line and said in line


def test_text_that_is_no_json_is_refused_with_its_line(tmp_path):
    (tmp_path / "copa.jsonl").write_text('\n{"query": \n')
    with pytest.raises(LabError, match="copa.jsonl: line 2 is not JSON"):
        read_task(TASKS["copa"], str(tmp_path))


@pytest.mark.parametrize(
    "text, said",
    [
        ("ctx\n4\na\nb\nc\nd\n", "from line 1 on"),
        ("ctx\n1\na\n\nc\nd\n", "blank"),
        ("ctx\n0\na\nb\nc\nd\nctx\n", "line 7"),
    ],
)
def test_a_malformed_text_of_hellaswag_is_refused_with_its_line(text, said, tmp_path):
    (tmp_path / "hellaswag_val_full.txt").write_text(text)
    with pytest.raises(LabError, match=said):
        read_task(TASKS["hellaswag"], str(tmp_path))


def test_a_compressed_copy_has_the_same_items_and_hash(tmp_path):
    content = b"ctx: one\n1\na\nb\nc\nd\n"
    found = []
    for ending, pack in (("", bytes), (".xz", lzma.compress), (".gz", gzip.compress), (".bz2", bz2.compress)):
        folder = tmp_path / f"as{ending}"
        folder.mkdir()
        (folder / f"hellaswag_val_full.txt{ending}").write_bytes(pack(content))
        data = read_task(TASKS["hellaswag"], str(folder))
        found.append((data.items, data.sha256))
    assert found == [found[0]] * 4


def test_a_truncated_file_is_refused(tmp_path):
    (tmp_path / "copa.jsonl.xz").write_bytes(lzma.compress(b"x" * 1000)[:40])
    with pytest.raises(LabError, match="copa.jsonl.xz can't be read"):
        read_task(TASKS["copa"], str(tmp_path))


def test_a_file_that_unpacks_to_too_much_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(records, "LARGEST_BYTES", 1 << 20)
    (tmp_path / "copa.jsonl.xz").write_bytes(lzma.compress(b" " * (3 << 20)))
    with pytest.raises(LabError, match="copa.jsonl.xz has more than 1 MiB"):
        read_task(TASKS["copa"], str(tmp_path))


def test_a_folder_of_blimp_s_sets_is_joined_in_the_order_of_their_names(tmp_path):
    pair = {"field": "syntax", "linguistics_term": "t", "sentence_bad": "B."}
    for name in ("b_set", "a_set"):
        written(tmp_path, f"blimp/{name}.jsonl", [{**pair, "UID": name, "sentence_good": f"{name}."}])
    data = read_task(TASKS["blimp"], str(tmp_path))
    assert [item.groups[2] for item in data.items] == ["a_set", "b_set"]


def test_two_files_for_one_task_are_refused(tmp_path):
    for folder in ("one", "two"):
        written(tmp_path, f"{folder}/copa.jsonl", [SAME["copa"][0]])
    with pytest.raises(LabError, match="both files of copa"):
        read_task(TASKS["copa"], str(tmp_path))


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(LabError, match=r"no file of copa: expected copa.jsonl, COPA/val.jsonl .*--task-data"):
        find_files(TASKS["copa"], str(tmp_path))
    written(tmp_path, "copa.jsonl", [SAME["copa"][0]])
    assert [task.name for task in available(list(TASKS.values()), str(tmp_path))] == ["copa"]


def test_the_hub_s_cache_is_read_and_never_asked(tmp_path, monkeypatch):
    pytest.importorskip("huggingface_hub")
    pytest.importorskip("pyarrow")
    from huggingface_hub import constants
    from pyarrow import Table, parquet

    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    with pytest.raises(LabError, match="hf download --repo-type dataset Rowan/hellaswag"):
        read_task(TASKS["hellaswag"], "hub:Rowan/hellaswag")
    repository = tmp_path / "datasets--Rowan--hellaswag"
    snapshot = repository / "snapshots" / ("0" * 40) / "data"
    snapshot.mkdir(parents=True)
    (repository / "refs").mkdir()
    (repository / "refs" / "main").write_text("0" * 40)
    record = SAME["hellaswag"][1]
    parquet.write_table(Table.from_pylist([record]), snapshot / "validation-00000-of-00001.parquet")
    assert len(read_task(TASKS["hellaswag"], "hub:Rowan/hellaswag").items) == 1


def test_a_smaller_selection_is_a_part_of_a_larger_one_and_divides_groups_evenly(tmp_path):
    pair = {"field": "syntax", "linguistics_term": "t", "sentence_good": "A.", "sentence_bad": "B."}
    items = items_of("blimp", tmp_path, [{**pair, "UID": f"set{number % 5}"} for number in range(100)])
    small, large = select(items, 12, seed=1), select(items, 50, seed=1)
    assert set(small.tolist()) < set(large.tolist())
    counts = Counter(items[place].groups[2] for place in small.tolist())
    assert sorted(counts.values()) == [2, 2, 2, 3, 3]
    assert select(items, 12, seed=2).tolist() != small.tolist()
    assert len(select(items, 1000, seed=1)) == 100
    with pytest.raises(LabError, match="expected at least 1"):
        select(items, 0, seed=1)


def test_a_name_can_be_registered_once(monkeypatch):
    monkeypatch.setattr(registry, "TASKS", dict(TASKS))
    with pytest.raises(ValueError, match="copa exists already"):
        registry.add_task(TASKS["copa"])
