"""The loss of a checkpoint of nanoGPT over a whole split: `python -m benchmarks.nanogpt_score CHECKOUT ckpt.pt` prints it as JSON.

Windows stand side by side, so that every token after the first is predicted exactly once, as lmlab scores its own models.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks.nanogpt import DATA, counts, load_model_module

WINDOWS_AT_ONCE = 64


def whole_split_loss(model: Any, tokens: torch.Tensor, context: int) -> float:
    """Nats a token, where `model(inputs, targets)` gives (logits, mean loss); `tokens` int64 [tokens]."""
    whole = (len(tokens) - 1) // context
    inputs = tokens[: whole * context].view(whole, context)
    targets = tokens[1 : whole * context + 1].view(whole, context)
    batches = list(zip(inputs.split(WINDOWS_AT_ONCE), targets.split(WINDOWS_AT_ONCE), strict=True))
    if whole * context < len(tokens) - 1:
        batches.append((tokens[None, whole * context : -1], tokens[None, whole * context + 1 :]))
    total = sum(model(one, other)[1].item() * other.numel() for one, other in batches)
    return total / (len(tokens) - 1)


def main() -> None:
    """Load, score, print."""
    checkout, checkpoint = Path(sys.argv[1]), Path(sys.argv[2])
    module = load_model_module(checkout)
    saved = torch.load(checkpoint, map_location="cpu", weights_only=True)
    model = module.GPT(module.GPTConfig(**saved["model_args"]))
    model.load_state_dict(saved["model"])
    model.eval()
    tokens = torch.from_numpy(np.fromfile(checkout / "data" / DATA / "val.bin", dtype=np.uint16).astype(np.int64))
    with torch.inference_mode():
        loss = whole_split_loss(model, tokens, saved["model_args"]["block_size"])
    print(json.dumps({"loss": loss, "parameters": counts(model)}))


if __name__ == "__main__":
    main()
