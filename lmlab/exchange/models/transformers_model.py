"""A local model of the transformers library, whatever its class, with lmlab's interface of language models.

For scores and samples beside those of runs. `lmlab import model` makes a run of the classes that lmlab can compute itself.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from lmlab import LabError
from lmlab.data.tokenizers import Tokenizer
from lmlab.exchange.models.hf_config import first_id
from lmlab.exchange.models.tokenizer_files import find_tokenizer
from lmlab.hardware.memory import first_line
from lmlab.model.loss import loss_sum

MOST_CONTEXT = 2_048
"""Longest window that is computed at once: the logits of a large vocabulary would fill the memory."""
CONTEXTS = ("n_positions", "max_position_embeddings", "n_ctx", "max_sequence_length", "seq_length")
"""Names of the context length in configurations."""


@dataclass
class TokensRead:
    """The decoding state: all tokens of each row, which are computed again for each new one."""

    rows: list[list[int]]
    length: int
    held: list[int] = field(init=False)

    def __post_init__(self) -> None:
        self.held = [len(row) for row in self.rows]

    def select(self, rows: Sequence[int]) -> None:
        """Keep these rows, in this order; a row that is named twice is duplicated."""
        self.rows = [list(self.rows[row]) for row in rows]
        self.held = [len(row) for row in self.rows]

    def join(self, other: "TokensRead") -> None:
        """Add the rows of another state, after the own ones."""
        self.rows = [*self.rows, *other.rows]
        self.held = [*self.held, *other.held]


class TransformersModel(nn.Module):
    """A causal language model of transformers. It has no key-value cache: generation computes the whole text for each token."""

    def __init__(self, model: nn.Module, context: int, vocabulary: int) -> None:
        """`model` maps tokens [batch, time] to an object with `logits`, at least `vocabulary` of each token."""
        super().__init__()
        self.model = model
        self.context = context
        self.vocabulary = vocabulary

    @property
    def device(self) -> torch.device:
        """The device of the parameters."""
        return next(self.model.parameters()).device

    def forward(self, tokens: Int[Tensor, "batch time"]) -> Float[Tensor, "batch time vocabulary"]:
        """Return the logits of the token after each position."""
        found: Float[Tensor, "batch time vocabulary"] = self.model(tokens, use_cache=False).logits
        return found[..., : self.vocabulary]

    def loss_sum(self, tokens: Int[Tensor, "batch time"], targets: Int[Tensor, "batch time"]) -> Float[Tensor, ""]:
        """Return the sum of nats over the targets that aren't -100."""
        return loss_sum(self(tokens), targets)

    def start_cache(self, batch: int, length: int) -> TokensRead:
        """Return an empty state for `batch` rows of at most `length` tokens. LabError if `length` exceeds the context."""
        if length > self.context:
            raise LabError(f"a cache of {length} tokens is longer than the model's context of {self.context}")
        return TokensRead([[] for _ in range(batch)], length)

    @torch.no_grad()
    def advance(
        self, tokens: Int[Tensor, "batch new"], cache: TokensRead, lengths: Sequence[int] | None = None
    ) -> Float[Tensor, "batch vocabulary"]:
        """Read the first `lengths[row]` new tokens of each row (default: all); return the logits of the token after the last."""
        lengths = [tokens.shape[1]] * len(tokens) if lengths is None else lengths
        rows = [[*row, *new[:count]] for row, new, count in zip(cache.rows, tokens.tolist(), lengths, strict=True)]
        cache.rows, cache.held = rows, [len(row) for row in rows]
        longest = max(cache.held)
        # Padding on the right changes nothing before it.
        padded = torch.tensor([row + [0] * (longest - len(row)) for row in rows], device=tokens.device)
        last = torch.tensor(cache.held, device=tokens.device) - 1
        found: Float[Tensor, "batch vocabulary"] = self(padded)[torch.arange(len(rows), device=tokens.device), last]
        return found


def read_transformers_model(folder: Path, device: torch.device) -> tuple[TransformersModel, Tokenizer, int]:
    """Return the model in a folder, in float32 and evaluation mode, its tokenizer, and the context of its configuration.

    Nothing is downloaded, no code of the folder is run, and only safetensors are read. LabError where the library isn't installed,
    or it or lmlab can't read the folder.
    """
    if not (folder / "config.json").is_file():
        raise LabError(
            f"{folder} is no model: expected a folder with config.json, model.safetensors and a tokenizer; "
            "one of the hub is downloaded with: hf download NAME --local-dir FOLDER"
        )
    try:
        import transformers
    except ImportError:
        raise LabError(f"hf:{folder} needs the package transformers: pip install transformers") from None
    transformers.utils.logging.set_verbosity_error()
    transformers.utils.logging.disable_progress_bar()
    options: dict[str, Any] = {"local_files_only": True, "trust_remote_code": False}
    try:
        model = transformers.AutoModelForCausalLM.from_pretrained(
            folder, use_safetensors=True, dtype=torch.float32, **options
        )
    except (OSError, ValueError, KeyError, RuntimeError, ImportError) as error:
        raise LabError(
            f"transformers can't read {folder} ({first_line(error)}): expected a causal language model in safetensors"
        ) from None
    config = model.config
    written = next((getattr(config, name) for name in CONTEXTS if isinstance(getattr(config, name, None), int)), 0)
    vocabulary = int(config.vocab_size)
    begin, end = (first_id(getattr(config, f"{one}_token_id", None), vocabulary) for one in ("bos", "eos"))
    tokenizer, _ = find_tokenizer(folder, vocabulary, None, begin, end)
    context = min(written or MOST_CONTEXT, MOST_CONTEXT)
    return TransformersModel(model.to(device).eval(), context, vocabulary), tokenizer, written
