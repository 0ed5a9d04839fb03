"""The scale of a training: its size, its tokens, its passes over the text, and its FLOPs."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from lmlab.model.adapter_cost import trained_parameters, training_flops_per_token
from lmlab.model.cost import parameters
from lmlab.recipe import Recipe
from lmlab.scaling.arithmetic import passes, share_of_compute_optimal, six_n_d, tokens_a_parameter, tokens_in
from lmlab.scaling.law import effective_tokens


@dataclass(frozen=True, kw_only=True)
class Position:
    """What follows from a recipe, a vocabulary and the length of the text, without measurements."""

    parameters: dict[str, int]
    """By part, and their total."""
    trained_parameters: int
    """The adapters' alone where low-rank adapters are trained."""
    matrix_parameters: int
    """Parameters by which every token is multiplied: the matrices of the blocks and of the head."""
    tokens: int
    """Processed in all steps, without padding."""
    unique_tokens: int
    """Tokens of the training split."""
    epochs: float
    effective_tokens: float
    """The number of fresh tokens with the same effect as these, of which some are repeated (arXiv 2305.16264)."""
    tokens_a_parameter: float
    """Tokens processed, over the parameters without n-gram tables: a token reads few of their rows."""
    share_of_optimal: float
    """Relative to the compute-optimal 20 tokens a parameter for a single epoch (arXiv 2203.15556)."""
    six_nd_flops: float
    """6 x parameters x tokens, the usual estimate, without tables."""
    exact_flops: float
    """All matrix products of the training, including those of attention and of padding."""

    @property
    def repetition_cost(self) -> float:
        """The share of the tokens that is lost to repetition."""
        return 1 - self.effective_tokens / self.tokens

    def to_json(self) -> dict[str, Any]:
        """Return the value for --json and files."""
        return {**asdict(self), "repetition_cost": self.repetition_cost}


def position_of(recipe: Recipe, vocabulary: int, steps: int, unique_tokens: int, tokens: int | None = None) -> Position:
    """Return the position of `recipe` with `steps` steps over a training split of `unique_tokens`.

    `tokens` is the number of computed tokens that count (None: all of them).
    """
    parts = parameters(recipe.model, vocabulary)
    computed = tokens_in(steps, recipe.train.batch, recipe.model.context)
    tokens = computed if tokens is None else tokens
    dense = parts["total"] - parts["ngrams"]
    return Position(
        parameters={name: number for name, number in parts.items() if name != "matrix"},
        trained_parameters=trained_parameters(recipe, vocabulary),
        matrix_parameters=parts["matrix"],
        tokens=tokens,
        unique_tokens=unique_tokens,
        epochs=passes(tokens, unique_tokens),
        effective_tokens=effective_tokens(tokens, unique_tokens),
        tokens_a_parameter=tokens_a_parameter(dense, tokens),
        share_of_optimal=share_of_compute_optimal(dense, tokens),
        six_nd_flops=six_n_d(dense, tokens),
        exact_flops=training_flops_per_token(recipe, vocabulary) * computed,
    )
