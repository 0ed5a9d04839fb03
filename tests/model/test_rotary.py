"""Rotary positions against complex numbers one at a time, and what they promise: only distances count."""

import cmath

import pytest
import torch

from lmlab.model.rotary import Rotation, rotate, rotation
from tests.model.grid import random_model, random_tokens, settings


def turned_slowly(head: list[float], position: int, base: float = 10_000.0) -> list[float]:
    width = len(head)
    out = []
    for pair in range(width // 2):
        factor = cmath.exp(1j * position * base ** (-2 * pair / width))
        number = complex(head[2 * pair], head[2 * pair + 1]) * factor
        out += [number.real, number.imag]
    return out


@pytest.mark.parametrize("width", [2, 6, 16])
def test_rotation_is_a_complex_product_for_each_pair(width: int) -> None:
    heads = torch.randn(2, 5, 3, width, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    positions = torch.tensor([0, 1, 2, 700, 1023])
    turned = rotate(heads, rotation(positions, width, torch.float64))
    for row in range(2):
        for time, position in enumerate(positions.tolist()):
            for head in range(3):
                expected = turned_slowly(heads[row, time, head].tolist(), position)
                assert turned[row, time, head].tolist() == pytest.approx(expected, abs=1e-12)


def test_the_base_decides_how_slowly_later_pairs_turn() -> None:
    heads = torch.randn(1, 1, 1, 6, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    turned = rotate(heads, rotation(torch.tensor([700]), 6, torch.float64, 500_000.0))
    assert turned.flatten().tolist() == pytest.approx(turned_slowly(heads.flatten().tolist(), 700, 500_000.0))


@pytest.mark.parametrize("dtype, near", [(torch.float64, 1e-12), (torch.float32, 1e-5), (torch.bfloat16, 2e-2)])
def test_real_and_complex_ways_agree(dtype: torch.dtype, near: float) -> None:
    heads = torch.randn(2, 9, 3, 8, generator=torch.Generator().manual_seed(0)).to(dtype)
    turn = rotation(torch.arange(9), 8, dtype)
    real = rotate(heads, Rotation(turn.cosines, turn.sines, None))
    assert real.dtype == dtype
    torch.testing.assert_close(rotate(heads, turn), real, rtol=near, atol=near)


def test_rotation_of_rows_at_different_positions_is_that_of_each_row() -> None:
    heads = torch.randn(2, 4, 1, 8, generator=torch.Generator().manual_seed(0))
    starts = torch.tensor([[3], [11]])
    both = rotate(heads, rotation(starts + torch.arange(4), 8, torch.float32))
    for row in range(2):
        alone = rotate(heads[row : row + 1], rotation(starts[row] + torch.arange(4), 8, torch.float32))
        assert torch.equal(both[row : row + 1], alone)


def test_products_depend_on_the_distance_only() -> None:
    generator = torch.Generator().manual_seed(0)
    query, key = (torch.randn(1, 1, 1, 16, dtype=torch.float64, generator=generator) for _ in range(2))

    def product(at: int, seen: int) -> float:
        turn = [rotation(torch.tensor([place]), 16, torch.float64) for place in (at, seen)]
        return float((rotate(query, turn[0]) * rotate(key, turn[1])).sum())

    assert product(5, 2) == pytest.approx(product(905, 902), abs=1e-10)
    assert product(5, 2) != pytest.approx(product(5, 3), abs=1e-3)


def test_rotary_model_tells_orders_apart_and_has_no_table() -> None:
    model = random_model(settings("rotary")).eval()
    assert model.positions is None
    tokens = random_tokens(1, 6)
    swapped = tokens[:, [1, 0, 2, 3, 4, 5]]
    assert not torch.allclose(model(tokens)[:, -1], model(swapped)[:, -1])
