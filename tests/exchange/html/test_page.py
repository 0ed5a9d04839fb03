"""The page runs nothing but its own script, loads nothing, and no name, prompt or text of a model can break out of it."""

import base64
import hashlib
import html.parser
import re
from pathlib import Path

import pytest
import torch

import lmlab.exchange.html
from lmlab.data.tokenizers.words import Words
from lmlab.exchange.html.curves import curves, thinned
from lmlab.exchange.html.document import SCRIPTS, script
from lmlab.exchange.html.weights import pack, quantised
from tests.exchange.html.made import chromium, model_of, page_of, written

BREAKS = (
    '</script><script>document.title = "broken"</script></title>'
    """<img src=x onerror="document.title='broken'"><!--%%SCRIPT%%"""
)
HOSTILE = {
    "title": BREAKS,
    "about": BREAKS,
    "prompt": BREAKS,
    "example": BREAKS,
    "recipe": BREAKS,
    "card": [BREAKS],
    "losses": [[BREAKS], [BREAKS]],
    "template": {"name": BREAKS, "before": BREAKS, "after": "", "stop": [BREAKS]},
}


class Elements(html.parser.HTMLParser):
    """Tags with their attributes, and the content of each script and style."""

    def __init__(self):
        super().__init__()
        self.tags, self.inline = [], []

    def handle_starttag(self, tag, attributes):
        self.tags.append((tag, dict(attributes)))
        if tag in ("script", "style"):
            self.inline.append([tag, dict(attributes), ""])

    def handle_data(self, data):
        if self.cdata_elem:
            self.inline[-1][2] += data


def parsed(text):
    found = Elements()
    found.feed(text)
    return found


@pytest.fixture(scope="module")
def hostile():
    """A page with hostile texts everywhere, in a vocabulary too."""
    words = Words([BREAKS.replace(" ", ""), *"abcdef"], lowercase=False, replace=True)
    return page_of(model_of("gpt2"), words, **HOSTILE)


def test_the_policy_has_the_hashes_of_script_and_style_and_allows_nothing_else(hostile):
    found = parsed(hostile)
    (content,) = [one["content"] for tag, one in found.tags if one.get("http-equiv") == "Content-Security-Policy"]
    policy = dict(part.strip().split(" ", 1) for part in content.split(";"))
    run = {tag: text for tag, attributes, text in found.inline if "type" not in attributes}
    for tag in ("script", "style"):
        digest = base64.b64encode(hashlib.sha256(run[tag].encode()).digest()).decode()
        assert policy.pop(f"{tag}-src") == f"'sha256-{digest}'"
    assert policy == {"default-src": "'none'", "img-src": "data:", "base-uri": "'none'", "form-action": "'none'"}


def test_hostile_texts_add_no_element(hostile):
    plain = [tag for tag, _ in parsed(page_of(model_of("gpt2"))).tags]
    assert [tag for tag, _ in parsed(hostile).tags] == plain
    for tag, attributes in parsed(hostile).tags:
        assert not any(name.startswith("on") or name in ("style", "src", "srcdoc") for name in attributes)
        assert attributes.get("type", "text") in (
            "text",
            "number",
            "checkbox",
            "submit",
            "button",
            "application/json",
            "text/plain",
        ), tag


def test_text_is_only_set_as_text_and_nothing_is_loaded():
    for sink in (
        "innerHTML",
        "outerHTML",
        "insertAdjacentHTML",
        "document.write",
        "eval(",
        "Function(",
        "fetch(",
        "import(",
        "XMLHttp",
    ):
        assert sink not in script()
    assert re.findall(r"https?://[^\"]*", script()) == ["http://www.w3.org/2000/svg"]


def test_hostile_texts_do_nothing_in_a_browser(tmp_path, hostile):
    start, options = chromium()
    with start() as playwright:
        browser = playwright.chromium.launch(**options)
        page, said, asked = browser.new_page(), [], []
        page.on("console", lambda message: said.append(message.text))
        page.on("pageerror", lambda error: said.append(str(error)))
        page.on("request", lambda request: asked.append(request.url))
        page.goto(written(tmp_path, hostile))
        page.fill("#prompt", BREAKS)
        page.click("#go")
        page.wait_for_selector("#go:enabled")
        for view in ("attention", "surprise", "training", "about"):
            page.click(f"[data-view={view}]")
            page.wait_for_timeout(100)
        assert (
            page.title() == BREAKS and page.text_content("#name") == BREAKS and page.text_content("#recipe") == BREAKS
        )
        assert BREAKS in page.text_content("#written")
        assert said == [] and {url.split(":")[0] for url in asked} <= {"file", "data"}
        browser.close()


def test_a_view_shows_what_the_model_computes(tmp_path):
    """At temperature 0 the first of the next tokens is written; a token that is pressed shows the list of its place."""
    start, options = chromium()
    with start() as playwright:
        browser = playwright.chromium.launch(**options)
        page = browser.new_page()
        page.goto(written(tmp_path, page_of(model_of("modern"))))
        page.click("summary >> nth=0")
        page.fill("#temperature", "0")
        page.click("#one")
        page.wait_for_selector("#go:enabled")
        first = page.text_content("#next .name >> nth=0")
        page.click("#one")
        page.wait_for_selector("#go:enabled")
        assert page.text_content("#written") == "abc" + page.text_content("#written")[3] + first
        page.click("#written span >> nth=2")
        assert page.text_content("#next_title") == f"Instead of {first}"
        assert page.text_content("#next .taken .name") == page.text_content("#next .name >> nth=0") == first
        page.click("[data-view=attention]")
        page.wait_for_selector("#head_tokens button >> nth=4")
        assert page.locator("#heads canvas").count() == 12
        page.click("[data-view=surprise]")
        page.wait_for_selector("#surprise_tokens span >> nth=4")
        browser.close()


def test_the_error_of_a_rounded_weight_is_at_most_half_a_scale():
    matrix = torch.randn(50, 70, generator=torch.Generator().manual_seed(2)) * torch.logspace(-6, 3, 50).unsqueeze(1)
    matrix[7] = 0
    values, scales = quantised(matrix)
    assert values.dtype == torch.int8 and int(values.abs().max()) == 127
    assert ((matrix - values * scales.unsqueeze(1)).abs() <= scales.unsqueeze(1) * 0.501).all()
    stored = pack({"m": matrix, "v": matrix[0]}, "int8").stored
    assert torch.equal(stored["m"], values.float() * scales.unsqueeze(1)) and torch.equal(stored["v"], matrix[0])


def test_curves_are_thinned_to_means_and_keep_what_is_finite():
    lines = [{"kind": "train", "step": step, "loss": float(step)} for step in range(1000)]
    lines += [{"kind": "train", "step": 1000, "loss": None}, {"kind": "train", "step": 1001, "loss": float("nan")}]
    found = curves([*lines, {"kind": "evaluation", "step": 5, "valid_loss": 2.0}, {"kind": "evaluation", "step": 6}])
    assert found["valid"] == [[5.0, 2.0]] and len(found["train"]) <= 300
    assert all(step == loss for step, loss in found["train"]) and thinned([[1, 2.0], [2, 4.0]], 1) == [[1.5, 3.0]]


def test_every_stored_script_is_joined():
    folder = Path(lmlab.exchange.html.__file__).parent
    assert {path.name for path in folder.glob("*.js")} == {*SCRIPTS, "node.js"} and len(SCRIPTS) == len(set(SCRIPTS))
