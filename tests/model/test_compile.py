"""torch.compile makes one graph of the model, and the same numbers.

In a process of its own: the checks of shapes that the other tests run under are more Python than the compiler reads.
"""

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent.parent

PROGRAM = """
import torch

from lmlab.model import gpt_shapes
from tests.model.grid import random_model, random_tokens, settings

gpt_shapes.LARGEST_LOGITS, gpt_shapes.CHUNK_LOGITS["cpu"] = {largest}, 100
model = random_model(settings("{option}"))
compiled = torch.compile(model.loss_sum, fullgraph=True, dynamic=False)
tokens, targets = random_tokens(2, 12), random_tokens(2, 12, seed=1)
if model.config.dropout:
    compiled(tokens, targets).backward()
    assert all(torch.isfinite(parameter.grad).all() for parameter in model.parameters())
    model.eval()
gradients, losses = [], []
for function in (model.loss_sum, compiled):
    model.zero_grad()
    losses.append(function(tokens, targets))
    losses[-1].backward()
    gradients.append([parameter.grad.clone() for parameter in model.parameters()])
torch.testing.assert_close(losses[0], losses[1])
torch.testing.assert_close(gradients[0], gradients[1], rtol=1e-3, atol=1e-3)
"""


@pytest.mark.slow
@pytest.mark.parametrize("largest", [1 << 26, 0])
@pytest.mark.parametrize("option", ["modern", "modern_grouped_dropout", "ngrams"])
def test_compiled_model_is_one_graph_with_the_same_loss_and_gradients(option: str, largest: int) -> None:
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    program = PROGRAM.format(option=option, largest=largest)
    finished = subprocess.run([sys.executable, "-c", program], env=environment, capture_output=True, text=True)
    assert finished.returncode == 0, finished.stderr
