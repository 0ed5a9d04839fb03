"""Commands of lmlab in a process that may take only so much more memory than it has after its imports.

Read from standard input: a JSON list of commands, each a list of words. Written to standard output: for each
[exit status, standard error], where an exception that escapes is the status "escaped" with its traceback.
"""

import contextlib
import io
import json
import os
import resource
import sys
import traceback


def address_space() -> int:
    """Bytes of address space that this process has taken."""
    with open("/proc/self/statm") as file:
        return int(file.read().split()[0]) * resource.getpagesize()


def answers(commands: list[list[str]]) -> list[list[object]]:
    from lmlab.cli import main

    found: list[list[object]] = []
    for words in commands:
        errors = io.StringIO()
        with contextlib.redirect_stderr(errors), contextlib.redirect_stdout(io.StringIO()):
            try:
                status: object = main(words)
            except BaseException:
                status = "escaped"
                traceback.print_exc()
        found.append([status, errors.getvalue()])
    return found


if __name__ == "__main__":
    import matplotlib.pyplot  # noqa: F401 - what is imported is not what a file makes us allocate
    import numpy
    import pyarrow.parquet  # noqa: F401
    import tiktoken  # noqa: F401
    import torch
    import zstandard  # noqa: F401

    import lmlab.experiment  # noqa: F401

    torch.set_num_threads(1)
    torch.ones(64, 64) @ torch.ones(64, 64)
    numpy.ones((64, 64)) @ numpy.ones((64, 64))
    most = address_space() + int(os.environ["LMLAB_TEST_ROOM"])
    resource.setrlimit(resource.RLIMIT_AS, (most, most))
    print(json.dumps(answers(json.load(sys.stdin))))
