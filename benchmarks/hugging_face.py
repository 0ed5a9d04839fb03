"""The side of Hugging Face's transformers, in a worker process: GPT2LMHeadModel from the package index, where it is installed."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any

from benchmarks.shapes import Shape, recipe_for
from benchmarks.turns import Unavailable, Work


def training(threads: int, shape: dict[str, Any], corpus: str) -> Work:
    """Whole training steps of GPT-2 at that shape (it always has biases, and the tanh form of GELU), with AdamW and clipping."""
    if importlib.util.find_spec("transformers") is None:
        raise Unavailable("transformers isn't installed: pip install transformers")
    import torch
    from torch.nn import functional as F
    from transformers import GPT2Config, GPT2LMHeadModel

    from lmlab.data.order import batch_at
    from lmlab.data.preparation import prepare

    torch.set_num_threads(threads)
    wanted = Shape(**shape)
    dataset = prepare(recipe_for(wanted, Path(corpus), threads).data)
    tokens = dataset.tokens("train")
    config = GPT2Config(
        vocab_size=dataset.vocabulary_size,
        n_positions=wanted.context,
        n_embd=wanted.width,
        n_layer=wanted.layers,
        n_head=wanted.heads,
        resid_pdrop=0.0,
        embd_pdrop=0.0,
        attn_pdrop=0.0,
        use_cache=False,
        bos_token_id=0,
        eos_token_id=0,
    )
    model = GPT2LMHeadModel(config).train()
    parameters = list(model.parameters())
    groups = [
        {"params": [one for one in parameters if one.dim() >= 2], "weight_decay": 0.1},
        {"params": [one for one in parameters if one.dim() < 2], "weight_decay": 0.0},
    ]
    optimizer = torch.optim.AdamW(groups, lr=1e-3, betas=(0.9, 0.99))
    cursor = 0

    def run(steps: int) -> None:
        nonlocal cursor
        for _ in range(steps):
            inputs, targets = batch_at(tokens, "random", 1, wanted.context, cursor, wanted.batch)
            cursor += wanted.batch
            logits = model(input_ids=torch.from_numpy(inputs)).logits
            loss = F.cross_entropy(logits.flatten(0, 1), torch.from_numpy(targets).flatten())
            loss.backward()
            torch.nn.utils.clip_grad_norm_(parameters, 1.0)
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
            loss.item()

    total = sum(parameter.numel() for parameter in parameters)
    counts = {"total": total, "lookup_tables": 0, "without_tables": total}
    return Work(run=run, facts={"tokens": wanted.batch * wanted.context, "parameters": counts})
