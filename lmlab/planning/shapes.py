"""Smaller and larger models in a recipe's style, among which inverse planning chooses.

Widths increase by about a fifth. Depth follows width as in `lmlab.recipe.sizes`, from 3 layers at 96 to 12 at 768, but through the
recipe's own shape: layers = own layers x (width / own width) ^ 0.67. Heads are 32, 64 or 128 wide, whichever divides the width and
is nearest to the recipe's own. All other settings of the model stay: context, norms, ties, tables, the ratio of
key heads.
"""

from __future__ import annotations

import math

from lmlab import LabError
from lmlab.model import parameters
from lmlab.recipe import GPT, Recipe, override
from lmlab.recipe.sizes import DEPTH_POWER

HEAD_WIDTHS = (32, 64, 128)
WIDTHS = (32, 64, 96, *(quarter * 2**octave for octave in range(5, 10) for quarter in (4, 5, 6, 7)), 4096)
"""Multiples of 32; from 128 on four to a doubling, so that each has about 1.6 times the parameters of the previous one."""


def shapes_like(recipe: Recipe) -> list[Recipe]:
    """Return `recipe` with each model shape in its style, its own among them, from narrow to wide. LabError where it's no GPT."""
    own = gpt_of(recipe)
    found = {width: _shaped(recipe, own, width) for width in WIDTHS if width != own.width}
    found[own.width] = recipe
    return [found[width] for width in sorted(found)]


def gpt_of(recipe: Recipe) -> GPT:
    """Return the recipe's model; LabError where it's no GPT, which alone has smaller and larger shapes."""
    if not isinstance(recipe.model, GPT):
        raise LabError(
            f"smaller and larger shapes exist for model.kind gpt, not for {recipe.model.kind}: plan this recipe without a budget"
        )
    return recipe.model


def counted_parameters(recipe: Recipe, vocabulary: int) -> int:
    """Return a model's size as loss laws count it: without n-gram tables, of which a token reads a few rows."""
    counted = parameters(recipe.model, vocabulary)
    return counted["total"] - counted["ngrams"]


def _shaped(recipe: Recipe, own: GPT, width: int) -> Recipe:
    layers = max(1, round(own.layers * (width / own.width) ** DEPTH_POWER))
    heads = width // _head_width(own, width)
    changes: dict[str, object] = {"model.width": width, "model.layers": layers, "model.heads": heads}
    if own.kv_heads is not None:
        changes["model.kv_heads"] = _key_heads(heads, own.kv_heads / own.heads)
    if own.hidden is not None:
        changes["model.hidden"] = 8 * max(1, round(own.hidden * width / own.width / 8))
    return override(recipe, changes)


def _head_width(own: GPT, width: int) -> int:
    """Return the one of HEAD_WIDTHS that divides the width and whose ratio to the recipe's own is nearest to 1."""
    wish = own.width / own.heads
    return min(
        (head for head in HEAD_WIDTHS if width % head == 0),
        key=lambda head: (abs(math.log(head / wish)), head),
    )


def _key_heads(heads: int, share: float) -> int:
    return min(
        (count for count in range(1, heads + 1) if heads % count == 0), key=lambda count: abs(count - share * heads)
    )
