"""The command `lmlab`: one module for each verb, imported when it's called.

Exit status: 0 done, 1 a failure reported in one line, 2 wrong usage, 3 stopped by a signal after saving.
"""

from __future__ import annotations

import difflib
import importlib
import sys

from lmlab import LabError, __version__
from lmlab.cli.clock import command_begins
from lmlab.cli.errors import UsageError
from lmlab.cli.printing import never_fail_to_encode, show
from lmlab.files import advice, reason
from lmlab.hardware.memory import first_line, is_out_of_memory
from lmlab.recipe.extensions import load_extensions
from lmlab.training.display import silence
from lmlab.training.signals import Interruptible
from lmlab.training.table import Column, Part, Table

LONGEST_PLACE = 200
VERBS = {
    "recipes": "the recipes, with the published numbers each one checks",
    "data": "prepare, extend, show or check a data set",
    "plan": "before a run: will it fit, how long, what loss; or the best model for a budget",
    "train": "train a recipe, or a model of your own text: forecast, training, evaluation, samples",
    "instruct": "tune a trained model on instructions or chats, the best epoch kept",
    "bench": "tokens/s, MFU and memory of a recipe here, by batch size, precision, engine and threads",
    "resume": "continue a run exactly where its last checkpoint left it",
    "prove": "replay steps of a run from a checkpoint and compare them with the record",
    "events": "the history of a run: starts, stops, checkpoints, spikes and their black boxes",
    "evaluate": "loss, perplexity, accuracy and bits per byte over a whole split, or accuracy on benchmark tasks",
    "sample": "generate text with a trained model",
    "chat": "chat with a trained model in turns, here or at an address",
    "serve": "serve a trained model with OpenAI's interface, and a chat page",
    "judge": "compare models by their answers to instructions, and tell whether the judge of them is fit",
    "chain": "from text to base models, their tunings and a comparison of the answers, in one file",
    "tune": "find a recipe's best learning rate by short trainings",
    "compare": "what differs between runs, and whether one is better beyond noise",
    "study": "vary settings over seeds, alone, stacked or in every combination, and measure the effect of each",
    "explain": "why two runs differ: the effect of each setting, by training recipes between theirs",
    "verify": "compute every number of a study again, from its runs",
    "report": "draw the curves of one or several runs",
    "runs": "the table of runs, and all of one on a page; rename, remove, prune or tag them",
    "import": "make a run from the log or the model of another project",
    "export": "write a run's model for transformers, llama.cpp, Ollama or nanoGPT",
}


def main(arguments: list[str] | None = None) -> int:
    """Run one verb; return the exit status."""
    command_begins(own_process=arguments is None)
    never_fail_to_encode()
    words = list(sys.argv[1:] if arguments is None else arguments)
    try:
        # Where nothing has to be saved first, every signal ends the command.
        with Interruptible():
            load_extensions()
            return _dispatch(words)
    except LabError as error:
        show(f"lmlab: {error}", file=sys.stderr)
        return error.status
    except KeyboardInterrupt as stopped:
        show(f"lmlab: {str(stopped) or 'stopped'}", file=sys.stderr)
        return 3
    except BrokenPipeError:
        # The reader of the output ended (`| head`), which is no failure.
        silence(sys.stdout)
        return 0
    except OSError as error:
        # A file or folder named by the user, or the disk below it, that no earlier check covered.
        place = f"{str(error.filename)[:LONGEST_PLACE]}: " if error.filename else ""
        show(f"lmlab: {place}{reason(error)}; {advice(error)}", file=sys.stderr)
        return 1
    except (MemoryError, RuntimeError) as error:
        if not is_out_of_memory(error):
            raise
        show(
            f"lmlab: out of memory ({first_line(error)}): use less at once, a smaller model, or another --device",
            file=sys.stderr,
        )
        return 1


def _dispatch(words: list[str]) -> int:
    if not words or words[0] in ("-h", "--help", "help"):
        show(*_help())
        return 0
    if words[0] == "--version":
        show(f"lmlab {__version__}")
        return 0
    verb = words[0]
    if verb.startswith("-"):
        raise UsageError(f"{verb} comes before the verb: write lmlab VERB {verb}, with a verb such as train or runs")
    if verb not in VERBS:
        close = difflib.get_close_matches(verb, VERBS, n=1)
        hint = f"did you mean {close[0]}?" if close else f"expected one of {', '.join(VERBS)}"
        raise UsageError(f"there is no verb '{verb}': {hint}")
    return int(importlib.import_module(f"lmlab.cli.{verb}").run(words[1:]))


def _help() -> list[Part]:
    columns = (Column("verb"), Column("what it does", wraps=True))
    return [
        "usage: lmlab VERB ...",
        "",
        "Train language models from scratch on hardware that you own.",
        "",
        Table(columns=columns, rows=tuple(VERBS.items())),
        "",
        "lmlab VERB --help lists the arguments of each; lmlab --version.",
    ]
