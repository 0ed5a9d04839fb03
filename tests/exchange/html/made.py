"""Pages of small models, and what runs them: node, or headless Chromium through playwright."""

import json
import shutil
import subprocess
from pathlib import Path

import pytest
import torch

from lmlab.data.tokenizers.characters import Characters
from lmlab.exchange.html.described import model_settings, template_settings, tokenizer_settings
from lmlab.exchange.html.document import document, script
from lmlab.exchange.html.expected import expected_of
from lmlab.exchange.html.weights import pack
from lmlab.model.build import build_model
from lmlab.recipe.model import Context
from tests.model.grid import OPTIONS, VOCABULARY, random_model, settings

LETTERS = Characters("abcdefghijk", documents_end=False, replace=False)
CONTEXTS = {
    "context": Context(layers=2, width=8, hidden=12, vector=6, context=12, dropout=0.2),
    "context_residual": Context(layers=3, width=6, hidden=10, vector=8, context=12, residual=True),
}
MODELS = (*OPTIONS, *CONTEXTS)


def model_of(name):
    """The random model of an option of the grid, or of the other family, in evaluation mode."""
    if name in OPTIONS:
        return random_model(settings(name)).eval()
    model = build_model(CONTEXTS[name], VOCABULARY)
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=generator) * 0.5)
    return model.eval()


def facts_of(model, tokenizer=LETTERS, weights="float32", **changes):
    """The facts of a page and its tensors; `model` then has the weights of the page."""
    packed = pack({name: value.clone() for name, value in model.state_dict().items()}, weights)
    model.load_state_dict(dict(packed.stored))
    facts = {
        "title": "mine",
        "about": "a model",
        "model": model_settings(model.config, model.vocabulary),
        "tokenizer": tokenizer_settings(tokenizer),
        "template": template_settings(None),
        "begin": None,
        "before": None,
        "first": 0,
        "lossless": True,
        "prompt": "abc",
        "example": "abcdef",
        "card": ["card"],
        "losses": [],
        "curves": {"train": [[1, 2.0], [2, 1.5]], "valid": [[1, 2.1]]},
        "recipe": "",
        "check": expected_of(model, tokenizer, "aabbcc"),
        "tensors": list(packed.entries),
        **changes,
    }
    return facts, packed.texts


def page_of(model, *arguments, **changes):
    """The text of a page."""
    facts, tensors = facts_of(model, *arguments, **changes)
    return document(facts["title"], facts, tensors)


def in_node(code, **values):
    """Evaluate an expression of JavaScript in node with the page's functions and `values`; skip without node."""
    node = shutil.which("node")
    if node is None:
        pytest.skip("needs node: https://nodejs.org")
    driver = (
        '{ const given = JSON.parse(require("fs").readFileSync(0, "utf8")), vm = require("vm");\n'
        "vm.runInThisContext(given.script);\nglobalThis.input = given.values;\n"
        "process.stdout.write(JSON.stringify(vm.runInThisContext(given.code))); }"
    )
    given = json.dumps({"script": script(), "code": code, "values": values})
    done = subprocess.run([node, "-e", driver], input=given.encode(), capture_output=True, check=False)
    assert done.returncode == 0, done.stderr.decode()[-2000:]
    return json.loads(done.stdout)


def chromium():
    """Playwright's context of a browser, and the options to start it; skips with the reason where one is missing."""
    api = pytest.importorskip("playwright.sync_api", reason="needs playwright")
    path = next((found for name in ("chromium", "google-chrome") if (found := shutil.which(name))), None)
    if path is None:
        pytest.skip("needs Chromium")
    return api.sync_playwright, {"executable_path": path, "args": ["--no-sandbox"]}


def written(folder: Path, text: str) -> str:
    """Write a page, and return its address."""
    path = folder / "page.html"
    path.write_text(text, encoding="utf-8")
    return path.resolve().as_uri()
