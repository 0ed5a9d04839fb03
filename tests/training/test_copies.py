"""Copies of a checkpoint are those of the moment at which they are taken."""

import pytest
import torch

from lmlab.training.copies import Copies


@pytest.mark.parametrize("device", ["cpu", pytest.param("cuda", marks=pytest.mark.gpu)])
def test_copies_are_the_tensors_before_what_follows(device: str) -> None:
    copies = Copies()
    big = torch.zeros(1 << 20, device=device)
    count = torch.zeros((), device=device)
    for value in (1.0, 2.0):  # the second time in the same memory
        big.fill_(value)
        count.fill_(value)
        found, wait = copies.take({"weights": {"big": big}, "optimizer": {"count": count}})
        big.fill_(9.0)
        wait()
        assert found["weights"]["big"].eq(value).all() and found["optimizer"]["count"] == value
        assert all(tensor.device.type == "cpu" for tensors in found.values() for tensor in tensors.values())


@pytest.mark.gpu
def test_pinned_memory_is_used_again_where_shapes_are_equal() -> None:
    copies = Copies()
    places = []
    for size in (4, 4, 8):
        found, wait = copies.take({"weights": {"x": torch.ones(size, device="cuda")}})
        wait()
        assert found["weights"]["x"].is_pinned()
        places.append(found["weights"]["x"].data_ptr())
    assert places[0] == places[1]
