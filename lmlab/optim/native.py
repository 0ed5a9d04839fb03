"""A training optimizer's update by the native CPU engine: the same rules on the same state.

    gradients of the engine -> norm -> clipping -> AdamW, lazy Adam of the n-gram tables, Muon

`TrainingOptimizer` still owns the state and its names, so that checkpoints of both are interchangeable, and each can resume a
training of the other (up to the rounding of float32). Sources are in `lmlab/native/source`.
"""

from __future__ import annotations

import torch
from torch import Tensor

from lmlab.native.engine import Engine
from lmlab.native.update import AdamEntry, MuonEntry, Update
from lmlab.optim.build import Member, TrainingOptimizer
from lmlab.optim.muon import Muon
from lmlab.optim.tables import TableAdam


class NativeUpdate:
    """Updates `optimizer`'s parameters with the engine's gradients. The tensors' addresses must not change during its life."""

    def __init__(self, optimizer: TrainingOptimizer, engine: Engine) -> None:
        """`engine` holds the model whose parameters `optimizer` updates."""
        self._optimizer = optimizer
        self._engine = engine
        adam: list[AdamEntry] = []
        muon: list[MuonEntry] = []
        self._tensors: list[Tensor] = []
        for member in optimizer.members():
            gradient = engine.gradients[member.name]
            tensors = [member.parameter, gradient, *member.state.values()]
            for tensor in tensors:
                assert tensor.dtype == torch.float32 and tensor.is_contiguous() and tensor.device.type == "cpu", (
                    member.name
                )
            assert member.parameter.data_ptr() == engine.tensors[member.name].data_ptr(), member.name
            self._tensors += tensors
            if isinstance(member.optimizer, Muon):
                muon += _matrices(member, gradient)
            else:
                adam.append(_adam(member, gradient))
        self._addresses = self._addresses_now()
        assert engine.handle is not None
        self._update = Update(engine.library, engine.handle, engine.lock, adam, muon)

    def norm(self) -> float:
        """Return the global gradient norm before clipping."""
        return self._update.norm()

    def take(self, clip: float, share: float) -> None:
        """Set every learning rate to `share` of its peak, and update with the gradient of the last call of `norm`.

        The gradient, which must be finite, is clipped to the norm `clip` (0: no clipping).
        """
        assert self._addresses == self._addresses_now(), "a tensor that the engine updates was replaced by another"
        self._update.take(clip, share)
        self._optimizer.set_rate(share)
        self._engine.updates += 1

    def _addresses_now(self) -> list[int]:
        return [tensor.data_ptr() for tensor in self._tensors]


def _adam(member: Member, gradient: Tensor) -> AdamEntry:
    state, settings = member.state, member.settings
    return AdamEntry(
        numbers=member.parameter.data_ptr(),
        gradient=gradient.data_ptr(),
        step=state["step"].data_ptr(),
        mean=state["exp_avg"].data_ptr(),
        square=state["exp_avg_sq"].data_ptr(),
        count=gradient.numel(),
        table_width=gradient.shape[1] if isinstance(member.optimizer, TableAdam) else 0,
        lr=settings["peak"],
        decay=settings.get("weight_decay", 0.0),
        beta1=settings["betas"][0],
        beta2=settings["betas"][1],
        eps=settings["eps"],
    )


def _matrices(member: Member, gradient: Tensor) -> list[MuonEntry]:
    """Return the entries of the matrices that a parameter under Muon consists of, stacked by rows."""
    settings = member.settings
    return [
        MuonEntry(
            numbers=numbers.data_ptr(),
            gradient=part.data_ptr(),
            momentum=momentum.data_ptr(),
            rows=part.shape[0],
            columns=part.shape[1],
            iterations=settings["iterations"],
            lr=settings["peak"],
            decay=settings["weight_decay"],
            share=settings["momentum"],
        )
        for numbers, part, momentum in zip(
            *(whole.detach().split(member.rows) for whole in (member.parameter, gradient, member.state["momentum"])),
            strict=True,
        )
    ]
