"""float16's loss scale against torch's own GradScaler."""

import torch

from lmlab.training.scaler import GROWTH_INTERVAL, LossScaler


def test_the_scale_moves_as_torchs_grad_scaler_moves_it():
    ours = LossScaler()
    weight = torch.nn.Parameter(torch.ones(1))
    optimizer = torch.optim.SGD([weight], lr=0.0)
    theirs = torch.amp.GradScaler("cpu", init_scale=ours.scale, growth_interval=GROWTH_INTERVAL)
    for step in range(GROWTH_INTERVAL + 5):
        finite = step not in (0, 1, 3)
        optimizer.zero_grad()
        theirs.scale(weight.sum() * (1.0 if finite else float("inf"))).backward()
        theirs.step(optimizer)
        theirs.update()
        ours.update(finite)
        assert ours.scale == theirs.get_scale(), step
    assert ours.scale > 65_536 / 8


def test_unscaling_divides_every_gradient():
    scaler = LossScaler(scale=8.0)
    gradients = [torch.full((3,), 16.0), torch.full((2, 2), -8.0)]
    scaler.unscale(gradients)
    assert torch.equal(gradients[0], torch.full((3,), 2.0))
    assert torch.equal(gradients[1], torch.full((2, 2), -1.0))


def test_the_scale_never_falls_below_one():
    scaler = LossScaler(scale=2.0)
    for _ in range(4):
        scaler.update(finite=False)
    assert scaler.scale == 1.0
    assert scaler.exhausted
