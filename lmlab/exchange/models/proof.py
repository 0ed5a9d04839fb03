"""An export proves itself: the other program loads what was written, and its logits are compared with ours.

transformers: logits over the whole context on a fixed sample of tokens, the ids of a text, and the ids of the special tokens.
llama.cpp (llama-cpp-python): the logits along a greedy text of 200 tokens, of which each token must be its choice as well.
nanoGPT: what was written is read again and has the same bits; the program itself isn't run.
"""

import functools
import os
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor

from lmlab import LabError
from lmlab.exchange.models.exportable import GGUF, HF
from lmlab.exchange.models.forms import read_model
from lmlab.exchange.models.tokenizers import definition_of
from lmlab.exchange.models.writing import CHECKPOINT, MODEL_FILE, Written, special_ids
from lmlab.model.build import build_model
from lmlab.model.trainable import TrainableModel

NEAR = 1e-4
"""Largest difference of a logit, relative to its size where that is above 1."""
GREEDY_TOKENS = 200
TIE = 0.02
"""Logits nearer than this are a tie for llama.cpp on a CPU, whose activations are looked up in half precision."""
SEED = 20_240_501
INSTALL_TRANSFORMERS = "pip install 'lmlab[compare]'"
INSTALL_LLAMA = "pip install 'lmlab[llama]'"


@dataclass(frozen=True, kw_only=True)
class Proof:
    """What was compared after an export."""

    by: str
    """The program that loaded it; empty where that isn't installed."""
    line: str
    """The result in words."""
    largest: float | None = None
    """Largest difference of a logit."""


def prove(folder: Path, what: Written, name: str) -> Proof:
    """Compare what was written in the format `name` with the model itself; LabError where they part."""
    model = build_model(what.model, what.vocabulary)
    model.load_state_dict(dict(what.weights))
    model.eval()
    if name == HF:
        return _by_transformers(folder, what, model)
    return _by_llama(folder, what, model) if name == GGUF else _by_reading(folder, what)


def sample_tokens(vocabulary: int, context: int) -> Int[Tensor, "1 time"]:
    """Return the fixed sample of tokens on which logits are compared."""
    return torch.randint(0, vocabulary, (1, context), generator=torch.Generator().manual_seed(SEED))


def largest_difference(
    ours: Float[Tensor, "time vocabulary"], theirs: Float[Tensor, "time vocabulary"]
) -> tuple[float, int]:
    """Return the largest difference of a logit, relative to its size where that is above 1, and its position."""
    apart = (ours - theirs).abs() / ours.abs().clamp_min(1.0)
    by_position = apart.amax(-1)
    by_position = torch.where(by_position.isnan(), torch.inf, by_position)
    return float(by_position.max()), int(by_position.argmax())


def _by_transformers(folder: Path, what: Written, model: TrainableModel) -> Proof:
    text = what.tokenizer.decode(sample_tokens(what.vocabulary, what.model.context)[0])
    _require_same_ids(what, text, _library_ids(what, text), "the tokenizers library")
    library = _transformers()
    if library is None:
        return Proof(
            by="",
            line="not proven: transformers isn't installed, so its logits weren't compared with the run's "
            f"({INSTALL_TRANSFORMERS})",
        )
    version = f"transformers {library.__version__}"
    with warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore")
        tokens = sample_tokens(what.vocabulary, what.model.context)
        theirs = library.AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
        largest, place = largest_difference(model(tokens)[0], theirs(tokens).logits[0])
        fast = library.AutoTokenizer.from_pretrained(folder)
        ids = fast(text, add_special_tokens=False).input_ids
    _require_near(largest, place, version)
    _require_same_ids(what, text, ids, version)
    wanted = special_ids(what.tokenizer)
    found = {name: getattr(theirs.config, name) for name in wanted}
    if found != wanted or theirs.generation_config.eos_token_id != wanted["eos_token_id"]:
        raise LabError(f"{version} reads the special tokens {found}, expected {wanted}: nothing was exported")
    return Proof(by=version, line=_line(version, largest, what.model.context), largest=largest)


def _by_llama(folder: Path, what: Written, model: TrainableModel) -> Proof:
    try:
        import llama_cpp
    except ImportError:
        return Proof(
            by="",
            line="not proven: llama-cpp-python isn't installed, so its text wasn't compared with the run's "
            f"({INSTALL_LLAMA})",
        )
    llama_cpp.llama_log_set(_silence(llama_cpp), None)
    version = f"llama-cpp-python {llama_cpp.__version__}"
    tokens = greedy_tokens(model, what.tokenizer.begin_of_text)
    context = what.model.context
    llama = llama_cpp.Llama(
        str(folder / MODEL_FILE), n_ctx=context, n_batch=context, logits_all=True, verbose=False, n_gpu_layers=0
    )
    llama.eval(tokens)
    theirs = torch.tensor(llama.scores[: len(tokens)])
    with torch.no_grad():
        ours = model(torch.tensor([tokens]))[0]
    text = what.tokenizer.decode(tokens)
    ids = llama.tokenize(text.encode(), add_bos=False, special=False) if text else []
    llama.close()
    _require_same_ids(what, text, ids, version)
    largest, _ = largest_difference(ours, theirs)
    chosen = theirs.argmax(-1)
    lost = ours.amax(-1) - ours.gather(-1, chosen[:, None])[:, 0]
    if not (lost < TIE).all():
        place = int(torch.where(lost.isnan(), torch.inf, lost).argmax())
        raise LabError(
            f"{version} writes another text than the run's model: after {place + 1} tokens it prefers id {int(chosen[place])}, "
            f"whose logit is {float(lost[place]):.3g} below the highest; nothing was exported"
        )
    return Proof(
        by=version,
        line=f"proven by {version}: it writes the same greedy text of {len(tokens) - 1} tokens (largest difference of a logit "
        f"{largest:.2g})",
        largest=largest,
    )


@functools.cache
def _silence(llama_cpp: Any) -> Any:
    """Return a log of llama.cpp that prints nothing; kept, since llama.cpp calls it until the process ends."""
    return llama_cpp.llama_log_callback(lambda level, text, data: None)


def greedy_tokens(model: TrainableModel, begin: int | None) -> list[int]:
    """Return the most probable continuation: GREEDY_TOKENS, or as many as the context holds, after the begin of a text, or after
    the sample's first token where there is none."""
    first = int(sample_tokens(model.vocabulary, 1)[0, 0]) if begin is None else begin
    length = min(GREEDY_TOKENS + 1, model.context)
    cache, tokens = model.start_cache(1, length), [first]
    while len(tokens) < length:
        logits = model.advance(torch.tensor([tokens[-1:]]), cache)
        tokens.append(int(logits[0].argmax()))
    return tokens


def _by_reading(folder: Path, what: Written) -> Proof:
    found = read_model(folder / CHECKPOINT)
    for name, tensor in what.weights.items():
        if not torch.equal(found.weights[name], tensor):
            raise LabError(f"{CHECKPOINT} has other values in {name} when it is read again: nothing was exported")
    return Proof(by="lmlab", line="read again: every weight is equal (nanoGPT itself was not run)", largest=0.0)


def _line(version: str, largest: float, positions: int) -> str:
    return (
        f"proven by {version}: its logits are the run's at {positions:,} positions (largest difference {largest:.2g})"
    )


def _require_near(largest: float, place: int, version: str) -> None:
    if not largest <= NEAR:
        raise LabError(
            f"{version} computes other logits than the run's model: they part by {largest:.3g} at position {place:,}, expected at "
            f"most {NEAR:g}; nothing was exported"
        )


def _require_same_ids(what: Written, text: str, ids: list[int], by: str) -> None:
    """Raise LabError unless the ids of a text are those of the run's tokenizer."""
    ours = what.tokenizer.encode(text).tolist()
    if ours == list(ids):
        return
    place = next(
        (at for at, (one, other) in enumerate(zip(ours, ids, strict=False)) if one != other), min(len(ours), len(ids))
    )
    raise LabError(
        f"{by} encodes a text otherwise than the run's tokenizer: {len(ids):,} ids, expected {len(ours):,}; they part at id "
        f"{place:,}; nothing was exported"
    )


def _library_ids(what: Written, text: str) -> list[int]:
    import json

    from tokenizers import Tokenizer as Library

    library = Library.from_str(json.dumps(definition_of(what.tokenizer)))
    library.encode_special_tokens = True
    found: list[int] = library.encode(text, add_special_tokens=False).ids
    return found


def _transformers() -> Any:
    """Return transformers, kept from the network and from printing; None where it isn't installed."""
    os.environ.setdefault("HF_HUB_OFFLINE", "1")
    os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            import transformers
        except ImportError:
            return None
    library: Any = transformers  # mostly without types
    library.utils.logging.disable_progress_bar()
    return library
