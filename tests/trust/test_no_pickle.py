"""Nothing that is read can run code: no unpickling, and nothing of a file is evaluated.

In a process of its own everything that can turn bytes into Python objects of any kind is poisoned before lmlab is
imported: it is noted, and it raises. Let through is one thing: `marshal.loads` called by Python's own import system,
which is how any .pyc beside a module is read. What libraries define on top of pickle (torch, multiprocessing) may be
defined, since poisoned classes can be inherited from, but not used; no library needed it for any of these verbs.
"""

import ast
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[2] / "lmlab"
MODULES = {"pickle", "_pickle", "cPickle", "dill", "cloudpickle", "joblib", "marshal", "shelve", "yaml", "jsonpickle"}
BUILTINS = {"eval", "exec", "compile", "__import__"}
METHODS = {("torch", "load"), ("yaml", "load"), ("ast", "literal_eval"), ("pandas", "read_pickle"), ("os", "system")}

SCRIPT = r'''
import json, marshal, pickle, shelve, shutil, sys

reached = []

def refuse(name):
    def poisoned(*arguments, **named):
        reached.append(name)
        raise AssertionError(f"{name} was reached")
    return poisoned

plain_loads = marshal.loads

def loads(data, *more, **named):
    """Python's import system reads .pyc files with this."""
    caller = sys._getframe(1).f_code.co_filename
    if "importlib" in caller or "zipimport" in caller:
        return plain_loads(data, *more, **named)
    reached.append(f"marshal.loads from {caller}")
    raise AssertionError("marshal.loads was reached")

class Poisoned(pickle.Unpickler):
    def __init__(self, *arguments, **named):
        refuse("pickle.Unpickler")()

class PoisonedPython(pickle._Unpickler):
    def __init__(self, *arguments, **named):
        refuse("pickle._Unpickler")()

def watch(event, arguments):
    # Raised by the C code itself, whoever holds which name of it.
    if event == "pickle.find_class":
        reached.append(f"pickle.find_class {arguments}")
        raise AssertionError(event)

sys.addaudithook(watch)
pickle.load, pickle.loads = refuse("pickle.load"), refuse("pickle.loads")
pickle._load, pickle._loads = refuse("pickle._load"), refuse("pickle._loads")
pickle.Unpickler, pickle._Unpickler = Poisoned, PoisonedPython
marshal.load, marshal.loads = refuse("marshal.load"), loads
shelve.open = shelve.Shelf = shelve.DbfilenameShelf = refuse("shelve")

import numpy, torch
torch.load = torch.serialization.load = torch.jit.load = refuse("torch.load")
plain_read, plain_load = numpy.lib.format.read_array, numpy.load

def checked(name, plain):
    def call(*arguments, **named):
        if named.get("allow_pickle"):
            refuse(f"{name}(allow_pickle=True)")()
        return plain(*arguments, **named)
    return call

numpy.load = checked("numpy.load", plain_load)
numpy.lib.format.read_array = checked("numpy.lib.format.read_array", plain_read)

import importlib, pathlib, pkgutil
import lmlab
names = [found.name for found in pkgutil.walk_packages(lmlab.__path__, "lmlab.") if found.name != "lmlab.__main__"]
for name in names:
    importlib.import_module(name)

from lmlab.cli import main
text, runs, settings = sys.argv[1], pathlib.Path(sys.argv[2]), sys.argv[3].split()
folder = runs / "mine"
statuses = {}

def verb(*words):
    statuses[" ".join(words[:2])] = main([str(word) for word in words])

verb("recipes")
verb("data", "prepare", text, "--data.tokenizer", "bpe", "--data.vocabulary", "300")
verb("data", "show", text, "--data.tokenizer", "bpe", "--data.vocabulary", "300")
verb("data", "check")
verb("train", text, *settings, "--run", "mine")
(folder / "summary.json").unlink()
(folder / "checkpoints" / "latest.json").unlink()
shutil.rmtree(folder / "checkpoints" / "step-00000006")
verb("resume", "mine")
verb("train", "--from", "mine@3", "--run", "branch", "--train.steps", "8")
verb("evaluate", "mine")
verb("evaluate", "mine@latest", "--on", text)
verb("sample", "mine", "--tokens", "5")
verb("report", "mine", "branch")
verb("export", "mine", "--to", "nanogpt", "--out", str(runs.parent / "exported"))
verb("import", "model", str(runs.parent / "exported"), "--run", "theirs")
verb("evaluate", "theirs", "--on", text)
print(json.dumps({"reached": reached, "statuses": statuses, "modules": len(names)}), file=sys.stderr)
'''
SETTINGS = """
--data.tokenizer characters --data.vocabulary none --data.split tail --model.preset gpt2 --model.layers 1
--model.activation gelu --no-tables --model.heads 2 --model.width 16 --model.context 16 --model.dropout 0
--optim.kind adamw --schedule.kind constant
--train.steps 6 --train.batch 2 --train.checkpoint_every 3 --train.log_every 2 --train.threads 1 --train.device cpu
--evaluate.every 3 --train.keep_finished all
"""


def test_every_module_and_the_main_verbs_run_with_all_unpickling_poisoned(tmp_path, tiny_text_file):
    folders = {"LMLAB_CACHE": str(tmp_path / "cache"), "LMLAB_RUNS": str(tmp_path / "runs"), "LMLAB_NATIVE": "off"}
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, str(tiny_text_file), str(tmp_path / "runs"), SETTINGS],
        capture_output=True,
        text=True,
        cwd=PACKAGE.parent,
        env={**os.environ, **folders},
        timeout=300,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    found = json.loads(done.stderr.splitlines()[-1])
    assert found["reached"] == []
    assert set(found["statuses"].values()) == {0}, found["statuses"]
    assert found["modules"] > 100


def sources():
    return [(path, ast.parse(path.read_text(encoding="utf-8"))) for path in sorted(PACKAGE.rglob("*.py"))]


def dangers(tree):
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names if alias.name.partition(".")[0] in MODULES)
        elif isinstance(node, ast.ImportFrom) and (node.module or "").partition(".")[0] in MODULES:
            yield str(node.module)
        elif isinstance(node, ast.Call):
            called = node.func
            if isinstance(called, ast.Name) and called.id in BUILTINS:
                yield called.id
            if isinstance(called, ast.Attribute) and isinstance(called.value, ast.Name):
                pair = (called.value.id, called.attr)
                if pair in METHODS:
                    yield ".".join(pair)
            for keyword in node.keywords:
                plain = isinstance(keyword.value, ast.Constant) and not keyword.value.value
                if keyword.arg in ("allow_pickle", "shell") and not plain:
                    yield str(keyword.arg)


def test_no_source_file_names_what_could_run_a_file_s_code():
    found = {f"{path.name}: {danger}" for path, tree in sources() for danger in dangers(tree)}
    assert found == set()


@pytest.mark.parametrize(
    "text",
    ["import pickle", "from torch.serialization import load\nimport shelve", "eval('1')", "np.load(p, allow_pickle=True)",
     "torch.load(path)", "subprocess.run(words, shell=True)", "import yaml"],
)  # fmt: skip
def test_the_check_of_the_source_finds_what_it_looks_for(text):
    assert list(dangers(ast.parse(text)))
