"""The native CPU engine: C++ code that is compiled once on the machine that runs it, cached, and loaded with ctypes.

    loaded = load()     # the newest Library, or Missing with the reason in one line
    loaded = load(identity="0123456789abcdef")     # the build that a run began with, if the cache still has it

Without a compiler, PyTorch computes everything instead. Nothing here imports torch.
"""
