"""Dropout: the share, the scale, and masks that follow torch's global generator."""

import pytest
import torch

from lmlab.model.dropout import Dropout, dropout


@pytest.mark.parametrize("share", [0.1, 0.2, 0.5, 0.9])
def test_the_share_is_dropped_and_the_mean_kept(share: float) -> None:
    torch.manual_seed(0)
    out = dropout(torch.ones(1000, 501), share)
    dropped = float((out == 0).float().mean())
    assert dropped == pytest.approx(share, abs=0.003)
    kept = out[out != 0]
    assert torch.equal(kept, kept[:1].expand_as(kept))
    assert float(kept[0]) == pytest.approx(1 / (1 - share), rel=1e-3)
    assert float(out.mean()) == pytest.approx(1.0, abs=0.02)


def test_neighbours_are_dropped_independently() -> None:
    torch.manual_seed(0)
    kept = (dropout(torch.ones(1 << 20), 0.5) != 0).float()
    for distance in (1, 2, 3, 4):
        both = float((kept[distance:] * kept[:-distance]).mean())
        assert both == pytest.approx(0.25, abs=0.003)


def test_the_gradient_passes_where_the_number_did() -> None:
    x = torch.randn(7, 9, requires_grad=True)
    out = dropout(x, 0.4)
    out.sum().backward()
    torch.testing.assert_close(x.grad * x, out)


def test_masks_follow_the_global_generator() -> None:
    masks = []
    for seed in (3, 3, 4):
        torch.manual_seed(seed)
        masks.append(dropout(torch.ones(64), 0.5))
    assert torch.equal(masks[0], masks[1])
    assert not torch.equal(masks[0], masks[2])


def test_nothing_is_dropped_or_drawn_in_evaluation_or_with_a_share_of_zero() -> None:
    state = torch.get_rng_state()
    x = torch.randn(5)
    torch.set_rng_state(state)
    assert Dropout(0.5).eval()(x) is x
    assert Dropout(0.0)(x) is x
    assert torch.equal(torch.get_rng_state(), state)


def test_type_and_shape_stay() -> None:
    for dtype in (torch.float32, torch.float64, torch.bfloat16, torch.float16):
        assert dropout(torch.ones(3, 2, 5, dtype=dtype), 0.3).dtype == dtype
    assert dropout(torch.ones(0, 4), 0.3).shape == (0, 4)
    assert float(dropout(torch.tensor(1.0), 0.999999)) in (0.0, 65536.0)
