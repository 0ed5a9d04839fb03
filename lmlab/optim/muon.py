"""Muon: orthogonalised momentum for the matrices of a transformer's blocks.

From kellerjordan.github.io/posts/muon. With gradient G, momentum M and decay mu:

    M <- mu M + (1 - mu) G;  U = orthogonalise(mu M + (1 - mu) G)  (Nesterov's form);
    W <- (1 - lr x decay) W - lr max(1, rows / columns)^.5 U

Orthogonalising replaces the singular values of a matrix by numbers near 1. A Newton-Schulz iteration does it with
matrix products only, for all matrices of one shape at once.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from lmlab.optim.rule import Rule

MOST_ON_PRODUCTS = 3
LINEAR, CUBIC, QUINTIC = 3.4445, -4.7750, 2.0315  # chosen there for the steepest slope at zero, not for convergence


def orthogonalise(
    matrices: Float[Tensor, "batch rows columns"], iterations: int = 5, products: torch.dtype | None = None
) -> Float[Tensor, "batch rows columns"]:
    """Return the matrices with singular values of about 1 (.7 to 1.2 after five iterations; zero stays zero).

    X <- a X + (b XX' + c (XX')^2) X, starting with X of norm 1, transposed if it has more rows than columns. `products` is the
    dtype of the iteration: bf16 and fp16 are exact enough for an update (None: the input's dtype).
    """
    transposed = matrices.shape[1] > matrices.shape[2]
    x = matrices.mT if transposed else matrices
    x = x / (torch.linalg.matrix_norm(x, keepdim=True) + 1e-7)
    if products is not None and products != matrices.dtype:
        x = _iterate(x.to(products), iterations)
    elif x.shape[2] >= 2 * x.shape[1]:
        for done in range(0, iterations, MOST_ON_PRODUCTS):
            x = _iterate_on_products(x, min(MOST_ON_PRODUCTS, iterations - done))
    else:
        x = _iterate(x, iterations)
    return (x.mT if transposed else x).to(matrices.dtype)


def _iterate(x: Float[Tensor, "batch short long"], iterations: int) -> Float[Tensor, "batch short long"]:
    for _ in range(iterations):
        square = torch.bmm(x, x.mT)
        polynomial = torch.baddbmm(square, square, square, beta=CUBIC, alpha=QUINTIC)
        x = torch.baddbmm(x, polynomial, x, beta=LINEAR)
    return x


def _iterate_on_products(x: Float[Tensor, "batch short long"], iterations: int) -> Float[Tensor, "batch short long"]:
    """Compute `_iterate` with only two products over the long side, one at the beginning and one at the end.

    With A = XX' and P = a + b A + c A^2 an iteration is X <- P X, so that A <- P A P. If the long side is four times the short
    one, five iterations take 2/3 of the arithmetic. Rounding errors grow about twelvefold per iteration, so at most three are
    combined before A is recomputed from X, and bf16 is not accurate enough.
    """
    square = torch.bmm(x, x.mT)
    product = polynomial = _polynomial(square)
    for _ in range(iterations - 1):
        square = torch.bmm(torch.bmm(polynomial, square), polynomial)
        polynomial = _polynomial(square)
        product = torch.bmm(polynomial, product)
    return torch.bmm(product, x)


def _polynomial(square: Float[Tensor, "batch short short"]) -> Float[Tensor, "batch short short"]:
    polynomial = torch.baddbmm(square, square, square, beta=CUBIC, alpha=QUINTIC)
    polynomial.diagonal(dim1=1, dim2=2).add_(LINEAR)
    return polynomial


class Muon(Rule):
    """Muon over matrices. A group may have `rows`: for each parameter the numbers of rows of the matrices it consists of.

    `products` is the dtype in which they are orthogonalised (None: their own). Each parameter's state is its `momentum`, created as
    zeros. Parameters without a gradient aren't updated.
    """

    def __init__(
        self,
        groups: Sequence[Mapping[str, Any]],
        momentum: float,
        iterations: int,
        products: torch.dtype | None = None,
    ) -> None:
        defaults = {"momentum": momentum, "iterations": iterations, "weight_decay": 0.0, "rows": None}
        super().__init__(groups, defaults)
        self.products = products
        for group in self.param_groups:
            group["rows"] = group["rows"] or [(len(parameter),) for parameter in group["params"]]
            for parameter in group["params"]:
                self.state[parameter] = {"momentum": torch.zeros_like(parameter, requires_grad=False)}

    @torch.no_grad()
    def step(self) -> None:
        """Update every parameter that has a gradient."""
        for group in self.param_groups:
            self._update(group)

    def _update(self, group: dict[str, Any]) -> None:
        """Update a group. With `owners` nothing changes before all communication is done."""
        known = list(zip(group["params"], group["rows"], strict=True))
        pairs = [(parameter, rows) for parameter, rows in known if parameter.grad is not None]
        if not pairs:
            return
        parameters: list[Tensor] = [parameter for parameter, _ in pairs]
        gradients: list[Tensor] = [parameter.grad for parameter, _ in pairs]
        momenta: list[Tensor] = [self.state[parameter]["momentum"] for parameter in parameters]
        if self.owners is None:
            torch._foreach_lerp_(momenta, gradients, 1.0 - group["momentum"])
            following = momenta
        else:
            following = list(torch._foreach_lerp(momenta, gradients, 1.0 - group["momentum"]))
        looked_ahead = torch._foreach_lerp(gradients, following, group["momentum"])
        by_shape: dict[torch.Size, tuple[list[Tensor], list[Tensor]]] = {}
        for (parameter, rows), update in zip(pairs, looked_ahead, strict=True):
            for matrix, part in zip(parameter.split(rows), update.split(rows), strict=True):
                targets, updates = by_shape.setdefault(part.shape, ([], []))
                targets.append(matrix)
                updates.append(part)
        flat = {shape: self._orthogonalised(updates, group["iterations"]) for shape, (_, updates) in by_shape.items()}
        if self.owners is not None:
            torch._foreach_copy_(momenta, following)
        if group["weight_decay"]:
            torch._foreach_mul_(parameters, 1.0 - group["lr"] * group["weight_decay"])
        for shape, (targets, _) in by_shape.items():
            scale = max(1.0, shape[0] / shape[1]) ** 0.5
            torch._foreach_add_(targets, flat[shape].unbind(), alpha=-group["lr"] * scale)

    def _orthogonalised(self, updates: list[Tensor], iterations: int) -> Tensor:
        """Return the orthogonalised matrices, which have one shape; with `owners` each rank computes its part of them."""
        if self.owners is None:
            return orthogonalise(torch.stack(updates), iterations, self.products)
        count, each = len(updates), -(-len(updates) // self.owners.ranks)
        first = min(self.owners.rank * each, count)
        own = updates[first : first + each]
        # As many from each rank: the last ones may have fewer, or none.
        part = torch.zeros(each, *updates[0].shape, dtype=updates[0].dtype, device=updates[0].device)
        if own:
            part[: len(own)] = orthogonalise(torch.stack(own), iterations, self.products)
        return self.owners.gathered(part)[:count]
