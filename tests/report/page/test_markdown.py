"""The Markdown has the same facts, and what comes from a run's files is no markup in it."""

import re

import pytest

from lmlab.report.page.markdown import code, markdown, plain
from tests.report.page.conftest import HOSTILE, make_run, page


def test_every_fact_and_sample_is_in_it_with_its_file(root):
    make_run(root)
    found = page(root, "one")
    written = markdown(found, ["curves.png"])
    assert "![" in written and "(<curves.png>)" in written
    for card in found.runs[0].cards:
        for fact in card.facts:
            assert (
                f"| {plain(fact.name)} | {plain(fact.shown)} | {plain(fact.unit)} | {plain(fact.source)} |" in written
            )
    assert "and at 40 it ends." in written and "lmlab train first" in written


@pytest.mark.parametrize(
    "given", ["a|b", "*a*", "<b>", "[a](b)", "`a`", "a\nb", "\x1b[2J", "@name", "https://a.b", "# a", "~~a~~"]
)
def test_text_of_a_cell_is_no_markup(given):
    shown = plain(given)
    assert "\n" not in shown and "\x1b" not in shown and "<" not in shown and "://" not in shown and "@" not in shown
    assert not re.search(r"(?<!\\)[|*`~\[\]]", shown)


def test_a_fence_in_a_text_does_not_end_its_block():
    block = code("a\n````\n# not a title")
    fence = block.split("text\n")[0]
    assert fence == "`````" and block.endswith(f"\n{fence}")


def test_hostile_samples_stay_in_their_blocks(root):
    make_run(root, text=f"\n```\n# {HOSTILE}\n")
    outside, fence = [], None
    for line in markdown(page(root, "one"), []).splitlines():
        if fence is None and (match := re.match("(`{3,})text$", line)):
            fence = match[1]
        elif line == fence:
            fence = None
        elif fence is None:
            outside.append(line)
    assert fence is None and not any("alert" in line for line in outside)
