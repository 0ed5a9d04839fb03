"""The forms of models that can be imported, and which one a file or folder has."""

from __future__ import annotations

from pathlib import Path

from lmlab import LabError
from lmlab.exchange.models.book import is_book, read_book
from lmlab.exchange.models.foreign import ForeignModel, Given
from lmlab.exchange.models.hf_folder import is_hf, read_hf
from lmlab.exchange.models.llmc import is_llmc, read_llmc
from lmlab.exchange.models.nanogpt import is_nanogpt, read_nanogpt
from lmlab.exchange.models.openai import is_openai, read_openai
from lmlab.exchange.models.torch_file import read_torch_file

AUTO = "auto"
MODEL_FORMS = {
    "hf": "a folder as transformers writes it: config.json and model.safetensors or pytorch_model.bin",
    "nanogpt": "nanoGPT's ckpt.pt",
    "book": "the state_dict() of LLMs-from-scratch, a .pth file",
    "llmc": "llm.c's .bin",
    "openai": "OpenAI's folder of GPT-2: hparams.json, model.ckpt.index and its data",
}
"""Name of each form -> its description."""
CHECKPOINT = "ckpt.pt"
"""nanoGPT's file in the folder of a training."""


def read_model(path: Path, form: str = AUTO, given: Given = Given()) -> ForeignModel:  # noqa: B008 - a constant
    """Return the model at `path`, a file or a folder. `auto` finds its form by its content.

    LabError where the form is unknown, or the file isn't of it or damaged.
    """
    if form not in (AUTO, *MODEL_FORMS):
        raise LabError(f"there is no form {form[:40]!r} of models: expected {AUTO}, {', '.join(MODEL_FORMS)}")
    if not path.exists():
        raise LabError(f"there is no file or folder {path}: expected a model")
    if path.is_dir() and (path / CHECKPOINT).is_file() and not is_hf(path):
        path = path / CHECKPOINT
    if path.is_dir():
        return _of_folder(path, form, given)
    if form == "llmc" or (form == AUTO and is_llmc(path)):
        return read_llmc(path, given)
    if form in ("hf", "openai") or path.suffix == ".safetensors":
        raise LabError(f"{path.name} is a file: expected the folder in which it is, with its settings")
    return _of_torch_file(path, form, given)


def _of_folder(path: Path, form: str, given: Given) -> ForeignModel:
    if form in (AUTO, "hf") and is_hf(path):
        return read_hf(path, given)
    if form in (AUTO, "openai") and is_openai(path):
        return read_openai(path, given)
    wanted = MODEL_FORMS if form == AUTO else {form: MODEL_FORMS[form]}
    raise LabError(f"{path} is a folder without such a model: expected {described(wanted)}")


def _of_torch_file(path: Path, form: str, given: Given) -> ForeignModel:
    value = read_torch_file(path)
    if form == "nanogpt" or (form == AUTO and is_nanogpt(value)):
        return read_nanogpt(path, value, given)
    if form == "book" or (form == AUTO and is_book(value)):
        return read_book(path, value, given)
    names = [str(name)[:40] for name in value][:3] if isinstance(value, dict) else []
    raise LabError(
        f"{path.name} has {', '.join(names) or 'no names of weights'}, which is none of the forms: expected "
        f"{described({name: MODEL_FORMS[name] for name in ('nanogpt', 'book')})}"
    )


def described(forms: dict[str, str]) -> str:
    """Return the forms in words."""
    return ", ".join(f"{about} ({name})" for name, about in forms.items())
