"""Adam for tables, against PyTorch's SparseAdam."""

import pytest
import torch
from torch import nn

from lmlab.model.build import build_model
from lmlab.optim.build import build_optimizer
from lmlab.optim.clip import clip_gradients, gradient_norm
from lmlab.optim.groups import parameter_groups
from lmlab.optim.tables import TableAdam
from lmlab.recipe import GPT, PRESETS, AdamW, Muon

ROWS, WIDTH = 20, 6
SHAPE = {"layers": 2, "heads": 2, "width": 8, "context": 6, "ngrams": (2, 3), "ngram_rows": 40}
OPTIMS = [AdamW(), AdamW(decay="all", weight_decay=0.3), Muon(), Muon(decay="all", weight_decay=0.3)]


def step_gradient(step: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Some rows, another choice each step and none in the third, and their gradients in float64."""
    generator = torch.Generator().manual_seed(step)
    rows = torch.randperm(ROWS, generator=generator)[: 0 if step == 2 else 5 + step]
    return rows, torch.randn(len(rows), WIDTH, generator=generator, dtype=torch.float64)


@pytest.mark.parametrize("betas, eps", [((0.9, 0.99), 1e-8), ((0.0, 0.95), 1e-3)])
def test_updates_are_those_of_sparse_adam(betas: tuple[float, float], eps: float) -> None:
    start = torch.randn(ROWS, WIDTH, generator=torch.Generator().manual_seed(9), dtype=torch.float64)
    ours, theirs = nn.Parameter(start.clone()), nn.Parameter(start.clone())
    table_adam = TableAdam([{"params": [ours], "lr": 0.1}], betas, eps)
    sparse_adam = torch.optim.SparseAdam([theirs], lr=0.1, betas=betas, eps=eps)
    for step in range(8):
        rows, gradient = step_gradient(step)
        ours.grad = torch.zeros_like(start).index_copy_(0, rows, gradient)
        for optimizer in (table_adam, sparse_adam):
            optimizer.param_groups[0]["lr"] = 0.1 / (step + 1)
        table_adam.step()
        with torch.sparse.check_sparse_tensor_invariants():
            theirs.grad = torch.sparse_coo_tensor(rows[None], gradient, start.shape)
            sparse_adam.step()
        torch.testing.assert_close(ours, theirs, rtol=1e-12, atol=1e-12)
        for name in ("exp_avg", "exp_avg_sq"):
            torch.testing.assert_close(table_adam.state[ours][name], sparse_adam.state[theirs][name])
    assert table_adam.state[ours]["step"].item() == sparse_adam.state[theirs]["step"] == 8


def test_rows_without_a_gradient_keep_their_bits_and_their_moments() -> None:
    table = nn.Parameter(torch.randn(ROWS, WIDTH, generator=torch.Generator().manual_seed(9)))
    optimizer = TableAdam([{"params": [table], "lr": 0.1}], (0.9, 0.99), 1e-8)
    for step in range(4):
        rows, gradient = step_gradient(step)
        kept = torch.ones(ROWS, dtype=torch.bool).index_fill_(0, rows, False)
        before = [tensor.detach().clone() for tensor in (table, *optimizer.state[table].values())]
        table.grad = torch.zeros_like(table).index_copy_(0, rows, gradient.float())
        optimizer.step()
        after = [table, *optimizer.state[table].values()]
        for old, new in zip(before, after, strict=True):
            if new.ndim:
                assert torch.equal(old[kept], new[kept])
                assert (old[~kept] != new[~kept]).any(dim=1).all()
    table.grad = None
    optimizer.step()
    assert optimizer.state[table]["step"].item() == 4, "a table without a gradient is left alone"


@pytest.mark.parametrize("optim", OPTIMS)
def test_tables_are_a_group_of_their_own_that_never_decays(optim: AdamW | Muon) -> None:
    model = build_model(GPT(**SHAPE, **PRESETS["modern"]), 11)
    groups = [group for group in parameter_groups(model, optim) if group.rule == "tables"]
    assert [list(group.parameters) for group in groups] == [["ngram_tables.0.weight", "ngram_tables.1.weight"]]
    assert groups[0].weight_decay == 0.0


def test_the_rate_of_tables_is_that_of_the_embeddings_unless_it_has_its_own() -> None:
    model = build_model(GPT(**SHAPE), 11)
    assert build_optimizer(model, AdamW(lr=0.3), "cpu").rates() == {"lr": 0.3, "table_lr": 0.3}
    assert build_optimizer(model, AdamW(lr=0.3, table_lr=0.5), "cpu").rates() == {"lr": 0.3, "table_lr": 0.5}
    muon = {"lr": 0.02, "adam_lr": 0.004}
    assert build_optimizer(model, Muon(**muon), "cpu").rates() == {**muon, "table_lr": 0.004}
    optimizer = build_optimizer(model, Muon(**muon, table_lr=0.01), "cpu")
    optimizer.set_rate(0.5)
    assert optimizer.rates() == {"lr": 0.01, "adam_lr": 0.002, "table_lr": 0.005}
    assert "table_lr" not in build_optimizer(build_model(GPT(), 11), Muon(table_lr=0.01), "cpu").rates()


def test_the_state_of_tables_is_named_like_adamws_and_exists_from_the_start() -> None:
    state = build_optimizer(build_model(GPT(**SHAPE), 11), Muon(), "cpu").state_tensors()
    for number in (0, 1):
        for kind, shape in (("step", ()), ("exp_avg", (40, 8)), ("exp_avg_sq", (40, 8))):
            tensor = state[f"{kind}/ngram_tables.{number}.weight"]
            assert (tensor.shape, tensor.dtype, bool(tensor.any())) == (shape, torch.float32, False)


def test_gradients_of_tables_count_in_the_norm_and_are_clipped() -> None:
    model = build_model(GPT(**SHAPE), 11)
    for parameter in model.parameters():
        parameter.grad = torch.zeros_like(parameter)
    model.ngram_tables[0].weight.grad[3, 0] = 3.0
    model.ngram_tables[1].weight.grad[5, 1] = 4.0
    norm = gradient_norm(model.parameters())
    assert norm.item() == pytest.approx(5.0)
    clip_gradients(model.parameters(), 1.0, norm)
    assert model.ngram_tables[1].weight.grad[5, 1].item() == pytest.approx(0.8)
