"""The HTML file is one document that nothing in a run can change: no markup, code or address comes from its files."""

import base64
import hashlib
import html.parser
import json
import re

import pytest

from lmlab.report.page.html.document import document
from lmlab.report.page.html.escape import script_json, text
from lmlab.report.page.html.library import library_scripts
from lmlab.report.page.writing import write_html
from lmlab.runs import open_runs
from tests.report.page.conftest import HOSTILE, make_run, page

LIBRARY = ("/* the library */",)
LARGEST = 2_000_000


class Elements(html.parser.HTMLParser):
    """Tags with their attributes, the text of scripts and styles, and all other text."""

    def __init__(self, content):
        super().__init__()
        self.tags, self.inline, self.words = [], [], []
        self.feed(content)

    def handle_starttag(self, tag, attributes):
        self.tags.append((tag, dict(attributes)))
        if tag in ("script", "style"):
            self.inline.append([tag, dict(attributes), ""])

    def handle_data(self, data):
        if self.cdata_elem:
            self.inline[-1][2] += data
        else:
            self.words.append(data)

    @property
    def policy(self):
        (content,) = [
            a["content"] for tag, a in self.tags if tag == "meta" and a.get("http-equiv") == "Content-Security-Policy"
        ]
        return dict(part.strip().split(" ", 1) for part in content.split(";"))


def test_the_policy_names_each_script_by_its_hash_and_allows_no_request(root):
    make_run(root)
    found = Elements(document(page(root, "one"), LIBRARY))
    scripts = [content for tag, attributes, content in found.inline if tag == "script" and "type" not in attributes]
    hashes = [f"'sha256-{base64.b64encode(hashlib.sha256(one.encode()).digest()).decode()}'" for one in scripts]
    assert found.policy["script-src"].split() == hashes and len(hashes) == 3
    assert found.policy["default-src"] == found.policy["base-uri"] == found.policy["form-action"] == "'none'"
    assert "unsafe" not in str(found.policy) and "connect-src" not in found.policy
    (style,) = [attributes for tag, attributes, _ in found.inline if tag == "style"]
    assert found.policy["style-src"] == f"'nonce-{style['nonce']}'"


def test_nothing_is_loaded_from_elsewhere_and_no_attribute_has_code_or_style(root):
    make_run(root)
    found = Elements(document(page(root, "one"), LIBRARY))
    for tag, attributes in found.tags:
        assert not any(name.startswith("on") or name in ("style", "src", "srcdoc", "action") for name in attributes), (
            tag
        )
        assert attributes.get("href", "#").startswith(("#", "data:,"))
    own = [content for tag, attributes, content in found.inline if "type" not in attributes]
    assert not any(re.search(r"(https?:)?//[a-z]", re.sub(r"(?m)^\s*// .*$", "", one)) for one in own)
    assert not any(re.search(r"url\(|@import", one) for one in own)


def test_hostile_names_texts_and_recipes_are_shown_as_text(root):
    origin = {"command": ["lmlab", HOSTILE], "hardware": {"cpu": HOSTILE}, "code": {"commit": HOSTILE}}
    run = make_run(root, text=HOSTILE, about="fine", origin=origin)
    (run.folder / "recipe.toml").write_text(
        (run.folder / "recipe.toml").read_text() + f"\n# {HOSTILE!r}\n# </pre><b>\n"
    )
    run.write("note.json", {"format": 1, "note": HOSTILE})
    clean = make_run(root, "clean", origin={"command": ["lmlab", "x"]})
    content, plain = (document(page(root, name), LIBRARY) for name in ("one", "clean"))
    tags = [(tag, sorted(attributes)) for tag, attributes in Elements(content).tags]
    known = {(tag, tuple(names)) for tag, names in ((tag, sorted(a)) for tag, a in Elements(plain).tags)}
    assert {(tag, tuple(names)) for tag, names in tags} <= known
    assert clean.name in plain
    assert "alert(1)" in " ".join(Elements(content).words)
    assert "\x1b" not in content and "\u202e" not in content
    assert content.lower().count("</script") == len([tag for tag, _ in tags if tag == "script"])


def test_data_in_a_script_block_is_json_that_cannot_end_it():
    written = script_json({"name": HOSTILE, "value": float("nan"), "comment": "<!--"})
    assert not re.search("[<>&]", written) and written.isascii()
    assert json.loads(written) == {"name": HOSTILE, "value": None, "comment": "<!--"}
    assert text(HOSTILE).count("<") == 0 and '"' not in text(HOSTILE) and "\x1b" not in text(HOSTILE)


def test_tables_have_captions_and_headings_and_every_chart_its_words(root):
    make_run(root)
    found = Elements(document(page(root, "one"), LIBRARY))
    names = [tag for tag, _ in found.tags]
    assert names.count("table") == names.count("caption") > 1
    assert all("scope" in attributes for tag, attributes in found.tags if tag == "th")
    charts = [attributes for tag, attributes in found.tags if attributes.get("class", "").startswith("chart")]
    assert len(charts) == 5 and all("At the end: one" in attributes["aria-label"] for attributes in charts)
    assert ("html", {"lang": "en"}) in found.tags and names.count("h1") == names.count("main") == 1
    anchors = {attributes["href"][1:] for tag, attributes in found.tags if tag == "a"}
    assert anchors <= {attributes.get("id") for _, attributes in found.tags}


def test_the_numbers_of_the_page_are_those_of_the_report(root):
    make_run(root)
    found = page(root, "one")
    words = " ".join(" ".join(Elements(document(found, LIBRARY)).words).split())
    for card in found.runs[0].cards:
        for fact in card.facts:
            assert f"{fact.shown} {fact.unit}".strip() in words
    (data,) = [
        json.loads(content) for _, a, content in Elements(document(found, LIBRARY)).inline if a.get("id") == "data"
    ]
    for chart, told in zip(found.charts, data["charts"], strict=True):
        for line, one in zip(chart.lines, told["lines"], strict=True):
            assert one["values"] == pytest.approx(line.values.tolist(), rel=1e-5)
            assert one["at"]["steps"] == line.places.steps.tolist()


def test_many_long_runs_stay_below_the_size_limit(root):
    bokeh = 1_268_134 + 121_596  # bytes of the scripts of bokeh 3.9.2
    names = [f"run-{number}" for number in range(16)]
    for number, name in enumerate(names):
        make_run(root, name, steps=1_000 + number, finished=False)
    found = page(root, *names)
    samples = sum(len(sample.text) + len(sample.prompt) for run in found.runs for sample in run.samples)
    assert len(document(found, LIBRARY).encode()) - samples + bokeh <= LARGEST


def test_the_library_is_that_of_the_package_and_fits(root, tmp_path):
    pytest.importorskip("bokeh", reason="needs bokeh")
    make_run(root)
    path = write_html(open_runs(["one"], root), tmp_path, "tokens", "lmlab report one", lambda line: None)
    assert path.name == "report.html" and path.stat().st_size <= LARGEST
    assert all(script in path.read_text(encoding="utf-8") for script in library_scripts())
