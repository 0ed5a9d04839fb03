"""Durable named tensors: checkpoints saved so that a crash at any time leaves the old or the new one intact.

Listing checkpoints (`finding`, `pointers`, `layout`) doesn't import torch.
"""
