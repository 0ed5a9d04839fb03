"""The MLP of a block: up-projection, activation, down-projection. swiglu's gate and value come from one up-projection."""

from jaxtyping import Float
from torch import Tensor, nn

from lmlab.model.activation import activate
from lmlab.model.dropout import Dropout
from lmlab.model.gpt_shapes import hidden_width, up_width
from lmlab.model.layers import Linear
from lmlab.recipe.model import GPT


class MLP(nn.Module):
    """down(activation(up(x)))."""

    def __init__(self, model: GPT) -> None:
        super().__init__()
        self.activation = model.activation
        self.up = Linear(model.width, up_width(model), bias=model.bias)
        self.down = Linear(hidden_width(model), model.width, bias=model.bias)
        self.residual_dropout = Dropout(model.dropout)

    def forward(self, x: Float[Tensor, "batch time width"]) -> Float[Tensor, "batch time width"]:
        """Return the update that is added to the residual stream."""
        found: Float[Tensor, "batch time width"] = self.residual_dropout(
            self.down(activate(self.activation, self.up(x)))
        )
        return found
