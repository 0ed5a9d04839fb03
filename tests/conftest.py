"""What holds for every test: shapes are checked, nothing of the user's is touched, random examples few and fixed.

Three things are made up in this process unless a test's mark asks for the real one: `tried` for the trial that a training's
forecast rests on, `apart` for making it in a process of its own (which imports PyTorch), `flushed` for waiting until the disk has
what was written. Processes that a test starts have the real ones.
"""

import contextlib
import gc
import os
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

# Before torch is imported by anything: the tests share the machine with each other and with its owner. Where several processes
# share the tests (pytest -n), each has one thread.
os.environ.setdefault("OMP_NUM_THREADS", "1" if "PYTEST_XDIST_WORKER" in os.environ else "2")
# Threads that spin while they wait for one that others have pushed off its core take four times as long on a busy machine.
os.environ.setdefault("OMP_WAIT_POLICY", "passive")
os.environ["MPLBACKEND"] = "Agg"

import hypothesis
import jaxtyping
import pytest
from jaxtyping import install_import_hook

# A shell lets what it starts in the background ignore Ctrl-C, and nohup the end of the terminal; tests send both.
signal.signal(signal.SIGINT, signal.default_int_handler)
if hasattr(signal, "SIGHUP"):
    signal.signal(signal.SIGHUP, signal.SIG_DFL)

PACKAGE = Path(__file__).parent.parent / "lmlab"
TRAINING_AGAIN = ("experiment", "faults")
"""Folders of tests that train one small model again and again."""
CHECKED: set[tuple[Path, str]] = set()
"""Test functions of these folders that had a case already."""


def modules_with_shapes() -> list[str]:
    """The modules of lmlab that annotate shapes."""
    paths = [path for path in PACKAGE.rglob("*.py") if "jaxtyping" in path.read_text(encoding="utf-8")]
    return [".".join(path.relative_to(PACKAGE.parent).with_suffix("").parts) for path in paths]


# Their annotations become promises that the tests check, shapes included. It must come before lmlab is imported. An int
# is a float where one is expected, as for any type checker.
install_import_hook(modules_with_shapes(), "beartype.beartype(conf=beartype.BeartypeConf(is_pep484_tower=True))")

hypothesis.settings.register_profile("lmlab", deadline=None, max_examples=30, derandomize=True, database=None)
hypothesis.settings.load_profile("lmlab")


def pytest_collection_finish() -> None:
    """All that was imported stays; a collection that looked through it again would take a tenth of a second."""
    gc.collect()
    gc.freeze()


@pytest.fixture(scope="session", autouse=True)
def _own_folders(tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest) -> Iterator[None]:
    """Prepared data goes to a folder of this session, and the settings of the user's shell don't count."""
    with pytest.MonkeyPatch.context() as patch:
        cache = tmp_path_factory.mktemp("cache")
        _keep_engine(cache, request.config)
        patch.setenv("LMLAB_CACHE", str(cache))
        for name in ("LMLAB_RUNS", "LMLAB_GPT2"):
            patch.delenv(name, raising=False)
        yield


@pytest.fixture(autouse=True)
def _checked_once(request: pytest.FixtureRequest) -> Iterator[None]:
    """Of a test that trains once for each of its cases, the first alone checks shapes: they are a fifth of its time."""
    function = (request.node.path, getattr(request.node, "originalname", request.node.name))
    again = request.node.path.parent.name in TRAINING_AGAIN and function in CHECKED
    CHECKED.add(function)
    jaxtyping.config.update("jaxtyping_disable", again)
    yield
    jaxtyping.config.update("jaxtyping_disable", False)


def _first_named(recipe: Any, policy: Any, *rest: Any) -> Any:
    """The engine that a policy names first: which one is faster can change from run to run on a busy machine."""
    return policy


@pytest.fixture(scope="session", autouse=True)
def _made_up() -> Iterator[dict[str, tuple[str, Any, Any]]]:
    """By mark: the name in lmlab or Python that stands for something slow, the real thing and what the tests have instead."""
    # Here, for the import hook above comes before lmlab.
    from lmlab.experiment import outline
    from lmlab.planning.trials import here
    from tests.trial import tried_before

    edges = {
        "tried": ("lmlab.experiment.outline.try_here", outline.try_here, tried_before),
        "chosen": ("lmlab.experiment.outline.fastest_policy", outline.fastest_policy, _first_named),
        "apart": ("lmlab.planning.trials.here._tried_apart", here._tried_apart, here._tried_inside),
        "flushed": ("os.fsync", os.fsync, os.fstat),  # which also refuses what is no open file
    }
    with pytest.MonkeyPatch.context() as patch:
        for name, _, instead in edges.values():
            patch.setattr(name, instead)
        yield edges


@pytest.fixture(scope="session")
def really(_made_up: dict[str, tuple[str, Any, Any]]) -> Callable[[str], contextlib.AbstractContextManager[None]]:
    """`with really(mark)`: the real thing."""

    @contextlib.contextmanager
    def real_one(mark: str) -> Iterator[None]:
        name, real, _ = _made_up[mark]
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(name, real)
            yield

    return real_one


@pytest.fixture(autouse=True)
def _marked(request: pytest.FixtureRequest, _made_up: dict[str, Any], really: Callable[[str], Any]) -> Iterator[None]:
    """The real things for a test whose marks ask for them."""
    with contextlib.ExitStack() as stack:
        for mark in _made_up:
            if request.node.get_closest_marker(mark):
                stack.enter_context(really(mark))
        yield


def _keep_engine(cache: Path, config: pytest.Config) -> None:
    """The compiled engine stays in pytest's own folder for the next session: it takes 20 s, and its key is all that decides it."""
    if not hasattr(config, "cache"):  # -p no:cacheprovider
        return
    kept = config.cache.mkdir("native")
    for record in kept.glob("*/build.json"):
        if '"failed"' in record.read_text(encoding="utf-8"):  # perhaps for want of memory that day
            record.unlink()
    with contextlib.suppress(OSError):  # Windows lets not everyone link
        (cache / "native").symlink_to(kept, target_is_directory=True)


@pytest.fixture(scope="session")
def tiny_text() -> str:
    """About 6,000 characters of English sentences, with a few that are longer than a byte."""
    subjects = ("The old lamp", "A café by the sea", "My sister", "Every ship", "The naïve painter", "Nobody")
    verbs = ("waits for", "remembers", "sings of", "never mentions", "draws")
    objects = ("the rain", "seven blue doors", "an empty street", "her brother’s clock", "snow in May", "“home”")
    sentences = [f"{one} {two} {three}." for one in subjects for two in verbs for three in objects]
    return "".join(f"{sentence}\n" for sentence in sentences)


@pytest.fixture
def tiny_text_file(tmp_path: Path, tiny_text: str) -> Path:
    """`tiny_text` as a UTF-8 file."""
    path = tmp_path / "tiny.txt"
    path.write_text(tiny_text, encoding="utf-8")
    return path
