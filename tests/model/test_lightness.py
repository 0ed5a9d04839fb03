"""Costs are arithmetic: counting a recipe's parameters must not wait for torch."""

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parent.parent.parent

PROGRAM = """
import sys
from lmlab.model.cost import flops_per_token, parameters
from lmlab.model.cost import activation_bytes
from lmlab.recipe.model import GPT, Context
for model in (GPT(), Context()):
    assert parameters(model, 65)["total"] and flops_per_token(model, 65).training and activation_bytes(model, 65, 1, 4)
assert "torch" not in sys.modules
"""


def test_costs_are_counted_without_torch() -> None:
    subprocess.run([sys.executable, "-c", PROGRAM], cwd=ROOT, check=True)
