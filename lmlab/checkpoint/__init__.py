"""Durable named tensors: checkpoints saved so that a crash at any time leaves the old or the new one intact.

Names are looked up on first use, so that listing checkpoints doesn't import torch.
"""
