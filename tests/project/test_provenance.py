"""Every figure of a page comes from a JSON file, and every JSON file of a clean commit and a command that it names.

Each list of exceptions below is of files from before that rule. A list may only shrink: a file that holds by now fails the test
until its line is taken out.
"""

import json
import math
import re

import pytest

from benchmarks import context_page, evaluation_page, harness, instruct_page, measured_pages, measures, published
from benchmarks.cpu import PARTS
from benchmarks.render import by_document, fill, render
from benchmarks.results import read_results
from benchmarks.study_sources import origins_in
from benchmarks.worker import ROOT
from lmlab import LabError
from lmlab.recipe import load_recipe
from tests.project.figures import FIGURE, figures, is_found, missing

RESULTS = ROOT / "benchmarks" / "results"
DOCS = ROOT / "docs"
LINK = re.compile(r"\]\(([^)#\s]+)(?:#[^)\s]*)?\)")

DIRTY = {
    "docs/overfitting.json": "hours of simulations and trainings; was recorded after its own page was written",
    "docs/small-runs.json": "was recorded after the first of its own results was written",
}
"""Measured with changes that no commit has. Why each wasn't made again yet."""
NO_SOURCE = {
    "docs/faults.json": "the long fault suite, hours: names its commit, but not whether the tree was clean",
    "docs/processors.json": "compilers and an emulator that weren't at hand",
    "docs/results.json": "its rows name their sources one by one; those of runs that were not kept have none",
}
"""Without the commit and the state of the tree."""
OTHER_COMMAND = {
    "docs/small-runs.json": "benchmarks.cpu was recorded for every module",
}
"""That record another module than the one that ran."""
TYPED_FIGURES: dict[str, str] = {}
"""Pages with figures that no JSON holds, and why."""


def names(paths):
    return sorted(path.relative_to(ROOT).as_posix() for path in paths)


FILES = names([*DOCS.rglob("*.json"), *RESULTS.glob("*.json")])
GUIDES = ("README", "data", "getting-started", "planning", "recipes", "results", "runs", "training", "verbs")
PAGES = names([ROOT / "README.md", *(DOCS / f"{name}.md" for name in GUIDES), *(DOCS / "studies").rglob("*.md")])


def load(name):
    return json.loads((ROOT / name).read_text(encoding="utf-8"))


def dictionaries(value):
    """The value's own and all that it holds."""
    if isinstance(value, dict):
        yield value
    if isinstance(value, (dict, list)):
        for one in value.values() if isinstance(value, dict) else value:
            yield from dictionaries(one)


def record(value):
    """What stands at the top of a file, or in its `context`: command and source; `source`'s own fields may stand there too."""
    if "passes" in value:  # the newest of them; the earlier ones stay whatever they were made from
        newest = value["passes"][-1]
        return newest["command"].split(), {"commit": newest["commit"], "dirty": not newest["clean"]}
    around = value.get("context", value)
    return around.get("command"), around.get("source", around)


@pytest.mark.parametrize("name", FILES)
def test_no_result_is_of_a_tree_with_changes(name):
    value = load(name)
    dirty = any(one.get("dirty") is True for one in [*dictionaries(value), record(value)[1]])
    assert dirty == (name in DIRTY), (
        "made from changes that no commit has: commit, then measure again" if dirty else "clean: take it out of DIRTY"
    )


@pytest.mark.parametrize("name", FILES)
def test_every_result_names_its_commit_and_its_command(name):
    command, source = record(load(name))
    named = bool(command and isinstance(source, dict) and source.get("commit") and source.get("dirty") is not None)
    assert named != (name in NO_SOURCE), "take it out of NO_SOURCE" if named else "use benchmarks.machine.context"


@pytest.mark.parametrize("name", sorted(set(FILES) - set(NO_SOURCE)))
def test_every_result_names_the_module_that_made_it(name):
    command, _ = record(load(name))
    if command[1] == "tools/set_up.py":  # what `make` calls
        return
    python, flag, module, *words = command
    place = ROOT / module.replace(".", "/")
    assert (python, flag) == ("python", "-m") and (
        place.with_suffix(".py").is_file() or (place / "__main__.py").is_file()
    )
    is_right = module != "benchmarks.cpu" or words[0] in (*PARTS, "loss", "tune")
    assert is_right != (name in OTHER_COMMAND), (
        "take it out of OTHER_COMMAND" if is_right else f"{words} aren't of {module}"
    )
    assert not any(word.startswith(("/", "~")) for word in words)


def test_the_exceptions_are_files_that_exist():
    for listed in (DIRTY, NO_SOURCE, OTHER_COMMAND):
        assert set(listed) <= set(FILES)
    assert set(TYPED_FIGURES) <= set(PAGES)


def test_the_pages_are_what_their_command_writes():
    for path, text in published.pages().items():
        assert path.read_text(encoding="utf-8") == text, f"{path.name}: python -m benchmarks.published render"


def test_the_tables_of_the_benchmarks_are_what_their_command_writes():
    results = [read_results(path) for path in sorted(RESULTS.glob("*.json"))]
    for path, texts in by_document(render(results)).items():
        page = path.read_text(encoding="utf-8")
        assert fill(page, texts) == page, f"{path.name}: python -m benchmarks.render benchmarks/results/*.json"


def test_the_tables_of_the_context_page_are_what_their_command_writes():
    before = context_page.PAGE.read_text(encoding="utf-8")
    assert context_page.page(before) == before, "python -m benchmarks.context_page"


def test_the_tables_of_the_evaluation_page_are_what_their_command_writes():
    before = evaluation_page.PAGE.read_text(encoding="utf-8")
    assert evaluation_page.page(before) == before, "python -m benchmarks.evaluation_page"


def test_the_tables_of_the_instruct_page_are_what_their_command_writes():
    before = instruct_page.PAGE.read_text(encoding="utf-8")
    assert instruct_page.page(before) == before, "python -m benchmarks.instruct_page"


def test_the_measured_tables_are_what_their_command_writes():
    for path, text in measured_pages.pages().items():
        assert path.read_text(encoding="utf-8") == text, f"{path.name}: python -m benchmarks.measured_pages"


def test_the_table_of_the_tasks_page_is_what_its_command_writes():
    before = harness.PAGE.read_text(encoding="utf-8")
    assert harness.page(before) == before, "python -m benchmarks.harness --publish"


def test_the_table_of_the_measures_page_is_what_its_command_writes():
    before = measures.PAGE.read_text(encoding="utf-8")
    assert measures.page(before) == before, "python -m benchmarks.measures RUN --publish"


@pytest.mark.parametrize("archive", names((DOCS / "studies").glob("*/runs.tar.xz")))
def test_a_published_study_names_the_commits_that_its_runs_name(archive):
    (values,) = (ROOT / archive).parent.glob("[ces]*.json")
    context = json.loads(values.read_text(encoding="utf-8"))["context"]
    commits = [one["code"]["commit"] for one in origins_in(ROOT / archive)]
    assert context["runs_by_commit"] == {commit: commits.count(commit) for commit in sorted(set(commits))}
    assert context["source"]["commit"] in commits and not context["source"]["dirty"]


def sources_of(page):
    """The files that a page's figures may come from."""
    if page == "README.md" or page in {f"docs/{name}.md" for name in GUIDES}:
        return [DOCS / "results.json"]
    if page == "docs/studies/context-propagation.md":
        return [
            *(DOCS / "studies").glob("context-*/*.json"),
            DOCS / "studies" / "context-propagation.json",
            DOCS / "results.json",
            RESULTS / "context-signal.json",
        ]
    if page == "docs/studies/instruct.md":
        return [*(DOCS / "studies").glob("instruct*/*.json"), *(DOCS / "studies" / "presets").glob("*.json")]
    if page == "docs/studies/evaluation.md":
        return [*(DOCS / "studies" / "evaluation").glob("*.json"), *(DOCS / "studies" / "presets").glob("*.json")]
    return sorted((ROOT / page).parent.glob("*.json"))


def test_a_short_demo_keeps_the_forecast_the_end_and_a_paragraph_of_text():
    lines = ["data", "forecast: 1M parameters", "  in all", "more", "", "panel", "", "done: 2 steps", "  in 3 s"]
    lines += ["", "the model of step 2 writes:", "", "    one", "      two", "", "    three"]
    shown = ["forecast: 1M parameters in all", "...", "done: 2 steps in 3 s", "", *lines[10:14]]
    assert published.demo_short({"lines": lines}) == "\n".join(f"    {line}".rstrip() for line in shown)
    with pytest.raises(LabError, match="no line that begins with 'done: '"):
        published.demo_short({"lines": lines[:5]})


def test_no_line_of_the_readme_is_wider_than_its_limit():
    lines = (ROOT / "README.md").read_text(encoding="utf-8").splitlines()
    assert [line for line in lines if len(line) > published.WIDEST] == []


def test_the_index_of_docs_names_every_page_and_no_other():
    found = LINK.findall((DOCS / "README.md").read_text(encoding="utf-8"))
    studies = {f"studies/{name}.md" for name in ("README", "context-propagation", "evaluation", "instruct")}
    others = {"../CONTRIBUTING.md", "notes/README.md", *studies}
    assert set(found) == {path.name for path in DOCS.glob("*.md")} - {"README.md"} | others


@pytest.mark.parametrize(
    "page", [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted(DOCS.rglob("*.md"))], ids=lambda path: path.name
)
def test_every_link_of_a_page_leads_to_a_file(page):
    found = LINK.findall(page.read_text(encoding="utf-8"))
    local = [link for link in found if not link.startswith(("https:", "http:"))]
    assert [link for link in local if not (page.parent / link).exists()] == []


@pytest.mark.parametrize("page", PAGES)
def test_every_figure_of_a_page_stands_in_a_json_file(page):
    text = (ROOT / page).read_text(encoding="utf-8")
    typed = missing(text, sources_of(page))
    assert bool(typed) == (page in TYPED_FIGURES), typed or "every figure was found: take it out of TYPED_FIGURES"


def test_a_published_figure_of_the_recipes_table_is_a_claim_or_stands_in_the_recipe():
    for one in published.read_json(published.DATA)["recipes"]:
        own = [load_recipe(name) for name in published.full_names(one["names"])]
        claims = [claim.value for recipe in (*own, load_recipe("shakespeare-gpu")) for claim in recipe.claims]
        for printed, number, unit in figures(one["published"] or ""):
            if (
                number != "20.1"
            ):  # the source's best model has other settings than any recipe: the study's page says where it is from
                assert is_found(number, unit, sorted(claims)), (one["names"], printed)


def test_a_number_that_no_file_holds_is_noticed(tmp_path):
    (tmp_path / "a.json").write_text(json.dumps({"loss": 1.38194, "share": 0.386, "seconds": 1722, "text": "9.9999"}))
    page = "loss 1.3819, accuracy 38.6%, after 28 min 42 s, on 2026-11-23 by Python 3.11.7 with `--optim.lr 4.44e-3`"
    assert missing(page, [tmp_path / "a.json"]) == []
    assert missing("loss 1.3818, 38.7%, 28 min 43 s, 9.9999", [tmp_path / "a.json"]) == [
        "28 min 43 s",
        "1.3818",
        "38.7%",
        "9.9999",
    ]


@pytest.mark.parametrize("text", ["+.177", "-0.0068", "1.9e-4", "12,768", ".31", "2.46"])
def test_a_figure_is_read_with_its_sign_exponent_and_commas(text):
    assert [match[0] for match in FIGURE.finditer(f"a {text}, b")] == [text]


def test_the_speed_range_is_of_the_medians_round_by_round():
    ours = {"side": "lmlab native", "against": "nanoGPT eager", "samples": [1.0, 1.2, 3.0]}
    other = {"side": "lmlab torch", "against": "nanoGPT eager", "samples": [9.0]}
    assert (
        published.speed_range([{"comparisons": [ours, other]}, {"comparisons": [{**ours, "samples": [2.5]}]}])
        == "1.2 to 2.5"
    )


def test_forecasts_are_counted_within_what_is_asked():
    def case(time, loss, inside):
        return {
            "score": {"total_seconds": {"ratio": time, "inside": inside}, "final_loss": {"ratio": loss, "inside": True}}
        }

    said = published.forecasts_held({"cases": [case(1.09, 1.04, True), case(0.89, 0.98, False)]})
    assert said.startswith("2 varied trainings on CPUs, time was within 10% for 1 of 2, ")
    assert said.endswith("loss was within 3% for 1 of 2; 75% of the intervals for 80% held")


def test_names_of_a_group_of_recipes_are_spelled_out():
    assert published.full_names(["wikitext2-context-a", "-b"]) == ["wikitext2-context-a", "wikitext2-context-b"]
    assert math.isfinite(load_recipe("wikitext2-context-b").train.epochs)
