"""The optimizer settings: AdamW, or Muon for matrices with AdamW for the rest."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar, Literal, Protocol, runtime_checkable

from lmlab.recipe.setting import setting

DecayName = Literal["matrices", "all"]


@runtime_checkable
class Optim(Protocol):
    """What the settings of every optimizer have: a frozen dataclass with these fields, and any others of its own."""

    __dataclass_fields__: ClassVar[dict[str, Any]]

    @property
    def kind(self) -> str:
        """The optimizer: a Literal with one value, which is also the default."""

    @property
    def lr(self) -> float:
        """Peak learning rate."""

    @property
    def weight_decay(self) -> float:
        """Decoupled weight decay."""

    @property
    def decay(self) -> DecayName:
        """What decays: tensors with two or more axes, or all."""

    @property
    def betas(self) -> tuple[float, float]:
        """AdamW's betas, for the parameters that it updates."""

    @property
    def eps(self) -> float:
        """AdamW's epsilon, for the parameters that it updates."""

    @property
    def clip(self) -> float:
        """Largest norm of the whole gradient; 0: no clipping."""

    @property
    def clip_steps(self) -> tuple[int, ...]:
        """Steps from which `clip_then` replaces `clip`."""

    @property
    def clip_then(self) -> tuple[float, ...]:
        """Largest norm of the whole gradient from each of `clip_steps` on."""

    @property
    def adaptive_clip(self) -> float:
        """Standard deviations above the recent mean beyond which a gradient norm is clipped; 0: off."""

    @property
    def table_lr(self) -> float | None:
        """Peak learning rate of n-gram tables (none: that of the embeddings)."""

    @property
    def transfer_from(self) -> tuple[int, ...]:
        """Sizes at which the rates were tuned; none: as they are."""

    @property
    def batch_from(self) -> int | None:
        """train.batch at which the rates were tuned; none: as they are."""


@dataclass(frozen=True, kw_only=True)
class AdamW:
    """Adam with decoupled weight decay (arXiv 1711.05101)."""

    kind: Literal["adamw"] = "adamw"
    """The optimizer."""
    lr: float = setting(1e-3, above=0.0)
    """Peak learning rate."""
    weight_decay: float = setting(0.1, at_least=0.0)
    """Decoupled weight decay: each step shrinks a weight by lr x weight_decay."""
    decay: DecayName = setting("matrices")
    """What decays: tensors with two or more axes (embeddings too), or all; n-gram tables never."""
    betas: tuple[float, float] = setting((0.9, 0.99), at_least=0.0, below=1.0)
    """Decay of the running means of gradient and squared gradient."""
    eps: float = setting(1e-8, above=0.0)
    """Added to the root of the mean squared gradient."""
    clip: float = setting(1.0, at_least=0.0)
    """Largest norm of the whole gradient; 0: no clipping."""
    clip_steps: tuple[int, ...] = setting((), at_least=1, came_later=True)
    """Steps (250,750), the first step being 0, from which clip_then replaces clip; none: clip throughout."""
    clip_then: tuple[float, ...] = setting((), at_least=0.0, came_later=True)
    """Largest norm of the whole gradient from each of clip_steps on (1.0,2.0); 0: no clipping."""
    adaptive_clip: float = setting(0.0, at_least=0.0, came_later=True)
    """Clip a gradient norm beyond this many standard deviations above its recent mean (ZClip, 2.5 in the paper); 0: off."""
    table_lr: float | None = setting(None, above=0.0, came_later=True)
    """Peak learning rate of the n-gram tables (none: that of the embeddings)."""
    transfer_from: tuple[int, ...] = setting((), at_least=1, came_later=True)
    """Width, or width and layers (128,4), at which the rates were tuned and from which they are scaled (muP); for model.kind
    context hidden, layers and vector (512,6,256); none: as they are."""
    batch_from: int | None = setting(None, at_least=1, came_later=True)
    """train.batch at which the rates were tuned: Adam's are multiplied by sqrt(train.batch / batch_from); none: as they are."""


@dataclass(frozen=True, kw_only=True)
class Muon:
    """Orthogonalised momentum for the blocks' matrices (kellerjordan.github.io/posts/muon), AdamW for all else."""

    kind: Literal["muon"] = "muon"
    """The optimizer."""
    lr: float = setting(0.02, above=0.0)
    """Peak learning rate of the matrices."""
    momentum: float = setting(0.95, at_least=0.0, below=1.0)
    """Momentum of the matrices' gradients (Nesterov's form)."""
    iterations: int = setting(5, at_least=1, at_most=100)
    """Newton-Schulz iterations a step."""
    adam_lr: float = setting(3e-3, above=0.0)
    """Peak learning rate of embeddings, head, norms and biases."""
    weight_decay: float = setting(0.0, at_least=0.0)
    """Decoupled weight decay of the matrices, and of what `decay` adds."""
    decay: DecayName = setting("matrices")
    """What decays: tensors with two or more axes (embeddings too), or all; n-gram tables never."""
    betas: tuple[float, float] = setting((0.9, 0.95), at_least=0.0, below=1.0)
    """AdamW's betas."""
    eps: float = setting(1e-10, above=0.0)
    """AdamW's epsilon."""
    clip: float = setting(0.0, at_least=0.0)
    """Largest norm of the whole gradient; 0: no clipping."""
    clip_steps: tuple[int, ...] = setting((), at_least=1, came_later=True)
    """Steps (250,750), the first step being 0, from which clip_then replaces clip; none: clip throughout."""
    clip_then: tuple[float, ...] = setting((), at_least=0.0, came_later=True)
    """Largest norm of the whole gradient from each of clip_steps on (1.0,2.0); 0: no clipping."""
    adaptive_clip: float = setting(0.0, at_least=0.0, came_later=True)
    """Clip a gradient norm beyond this many standard deviations above its recent mean (ZClip, 2.5 in the paper); 0: off."""
    table_lr: float | None = setting(None, above=0.0, came_later=True)
    """Peak learning rate of the n-gram tables (none: that of the embeddings)."""
    transfer_from: tuple[int, ...] = setting((), at_least=1, came_later=True)
    """Width, or width and layers (128,4), at which the rates were tuned and from which they are scaled (muP); for model.kind
    context hidden, layers and vector (512,6,256); none: as they are."""
    batch_from: int | None = setting(None, at_least=1, came_later=True)
    """train.batch at which the rates were tuned: Adam's are multiplied by sqrt(train.batch / batch_from); none: as they are."""
