"""The page computes what PyTorch computes: every option of both families, in float32 and in int8."""

import cmath
import json

import pytest
import torch

from lmlab import LabError
from lmlab.data.tokenizers.characters import Characters
from lmlab.exchange.html.document import document
from lmlab.exchange.html.proof import prove_page
from lmlab.model.build import build_model
from lmlab.recipe.model import GPT
from tests.exchange.html.made import MODELS, VOCABULARY, chromium, facts_of, in_node, model_of, page_of, written

NEAR = 1e-3
LOGITS = """input.pages.map(({ facts, texts, tokens }) => {
  const model = new FAMILIES[facts.model.kind](facts.model, new Tensors(facts.tensors, (id) => texts[id])), state = model.start();
  return tokens.map((token) => Array.from(model.advance(state, token)));
})"""


@pytest.fixture(scope="module")
def computed():
    """Name and weights of each model -> the logits of the page, and those of PyTorch with the same weights."""
    pages, ours = [], {}
    for name in MODELS:
        for weights in ("float32", "int8"):
            model = model_of(name)
            facts, texts = facts_of(model, weights=weights)
            tokens = torch.randint(0, VOCABULARY, (1, model.context), generator=torch.Generator().manual_seed(3))
            with torch.no_grad():
                ours[name, weights] = model(tokens)[0]
            pages.append({"facts": facts, "texts": texts, "tokens": tokens[0].tolist()})
    return dict(zip(ours, in_node(LOGITS, pages=pages), strict=True)), ours


@pytest.mark.parametrize("weights", ["float32", "int8"])
@pytest.mark.parametrize("name", MODELS)
def test_logits_are_pytorch_s(computed, name, weights):
    theirs, ours = computed
    found, wanted = torch.tensor(theirs[name, weights]), ours[name, weights]
    assert float(((found - wanted).abs() / wanted.abs().clamp_min(1)).max()) < NEAR


@pytest.mark.parametrize(
    "names",
    [
        pytest.param(("gpt2", "modern_ngrams_dropout", "llama_grouped", "context_residual"), id="some"),
        pytest.param(MODELS, id="all", marks=pytest.mark.slow),
    ],
)
def test_options_pass_the_page_s_check_in_chromium(tmp_path, names):
    start, options = chromium()
    failed = []
    with start() as playwright:
        browser = playwright.chromium.launch(**options)
        for name in names:
            page = browser.new_page()
            page.goto(written(tmp_path, page_of(model_of(name))) + "#check")
            checked = json.loads(page.text_content("#checked") or "{}")
            if not checked.get("passed") or not checked["largest"] < NEAR or checked["different"]:
                failed.append((name, checked))
            page.close()
        browser.close()
    assert not failed


def test_attention_weights_are_those_of_the_formula():
    """One head of one layer without positions: softmax of products of queries and keys, computed slowly."""
    config = GPT(layers=1, heads=1, width=4, context=6, positions="rotary", norm="rmsnorm", rotary_base=1e11)
    model = build_model(config, VOCABULARY)
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=generator))
    facts, texts = facts_of(model.eval())
    tokens = [3, 1, 4, 1, 5]
    code = LOGITS.replace(
        "Array.from(model.advance(state, token))",
        "(model.advance(state, token, false, (l, h, w) => kept.push([...w])), 0)",
    )
    rows = in_node(f"var kept = []; {code}; kept", pages=[{"facts": facts, "texts": texts, "tokens": tokens}])
    block = model.blocks[0]
    with torch.no_grad():
        queries, keys, _ = block.attention.qkv(block.attention_norm(model.embedding(torch.tensor(tokens)))).split(
            4, dim=-1
        )
    for place, row in enumerate(rows):
        turned = [_turned(one, at) for at, one in enumerate(keys.tolist())]
        scores = [
            sum(a * b for a, b in zip(_turned(queries[place].tolist(), place), key, strict=True)) / 2 for key in turned
        ]
        wanted = torch.tensor(scores[: place + 1]).softmax(0)
        assert row == pytest.approx(wanted.tolist(), abs=1e-5)


def _turned(vector, place):
    """Rotate pairs of adjacent numbers by their angles, as complex numbers."""
    found = []
    for pair in range(2):
        value = complex(*vector[2 * pair : 2 * pair + 2]) * cmath.exp(1j * place * 1e11 ** (-pair / 2))
        found += [value.real, value.imag]
    return found


@pytest.mark.parametrize("weights, most", [("int8", 1.5e6), ("float32", 5e6)])
def test_a_page_of_a_model_of_800_000_parameters_is_small(weights, most):
    config = GPT(layers=4, heads=4, width=128, context=64)
    tokenizer = Characters("".join(map(chr, range(48, 113))), documents_end=False, replace=False)
    model = build_model(config, tokenizer.vocabulary_size)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.normal_(std=0.02)
    assert 0.8e6 < sum(one.numel() for one in model.parameters()) < 0.81e6
    assert len(page_of(model.eval(), tokenizer, weights).encode()) < most


def test_a_page_that_computes_something_else_fails_its_proof(tmp_path):
    facts, texts = facts_of(model_of("gpt2"))
    path = tmp_path / "page.html"
    path.write_text(document("mine", facts, texts), encoding="utf-8")
    if not prove_page(path).by:
        pytest.skip("needs node or Chromium")
    wrong = {**facts, "model": {**facts["model"], "norm_epsilon": 0.5}}
    path.write_text(document("mine", wrong, texts), encoding="utf-8")
    with pytest.raises(LabError, match="nothing was exported"):
        prove_page(path)


def test_chromium_proves_a_page_where_there_is_no_node(tmp_path, monkeypatch):
    chromium()
    written(tmp_path, page_of(model_of("modern_grouped_dropout"), weights="int8"))
    monkeypatch.setattr("lmlab.exchange.html.proof.NODE", ())
    proof = prove_page(tmp_path / "page.html")
    assert proof.by.startswith("Chrome ") and "the same greedy text of" in proof.line and proof.largest < NEAR


def test_without_node_and_chromium_it_says_that_it_was_not_proven(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    proof = prove_page(tmp_path / "page.html")
    assert not proof.by and proof.line.startswith("not proven: neither node nor Chromium")
