"""Packages import from floors below their own only, and the pages that name the floors name those."""

import re

import pytest

from benchmarks.worker import ROOT
from tools.structure import FLOORS, Module, circles, family_tests, modules_in, upward_imports, walk

MODULES = modules_in(ROOT)


def written(folder, files):
    for name, text in files.items():
        path = folder / "lmlab" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return modules_in(folder)


def test_every_package_has_a_floor_and_imports_from_floors_below_it():
    folders = {path.name for path in (ROOT / "lmlab").iterdir() if any(path.glob("*.py"))}
    assert folders == set(FLOORS)
    assert upward_imports(MODULES) == []
    assert circles(MODULES) == []


@pytest.mark.parametrize("page", ["docs/design.md", "CONTRIBUTING.md"])
def test_the_pages_name_the_floors(page):
    rows = re.findall(r"^\| (\d+) \| ([^|]+) \|", (ROOT / page).read_text(encoding="utf-8"), flags=re.MULTILINE)
    named = {package: int(floor) for floor, packages in rows for package in re.findall(r"`(\w+)`", packages)}
    assert named == FLOORS


def test_an_import_upward_or_beside_is_found(tmp_path):
    modules = written(
        tmp_path,
        {
            "data/one.py": "from lmlab.training import loop\n",
            "runs/two.py": "def late():\n    from lmlab.data.one import x\n",
            "training/loop.py": "from lmlab.data.one import x\nimport lmlab.files\n",
        },
    )
    assert [line.split(" (")[0] for line in upward_imports(modules)] == ["lmlab.data.one", "lmlab.runs.two"]
    assert circles(modules) == [["lmlab.data.one", "lmlab.training.loop"]]


def test_the_recipe_is_followed_by_name_through_functions_classes_and_methods(tmp_path):
    modules = written(
        tmp_path,
        {
            "experiment/start.py": (
                "from lmlab.data import prepare\nfrom lmlab.training.loop import Loop\n"
                "def train(recipe, runs):\n    other(runs)\n    prepare(recipe.data)\n"
                "    Loop(1, recipe=recipe)\n    prepare(recipe)\n"
                "def other(runs): ...\n"
            ),
            "data/__init__.py": "from lmlab.data.preparation import prepare\n",
            "data/preparation.py": "def prepare(data):\n    helper(data.corpus)\ndef helper(corpus): ...\n",
            "training/loop.py": (
                "class Loop:\n    def __init__(self, steps, recipe):\n        self.recipe = recipe\n        self.run(recipe)\n"
                "    def run(self, recipe): ...\n"
            ),
        },
    )
    assert [f"{stop.module.split('.')[-1]}.{stop.function}" for stop in walk(modules)] == [
        "start.train",
        "preparation.prepare",
        "preparation.helper",
        "loop.Loop.__init__",
        "loop.Loop.run",
    ]


def test_questions_for_a_family_are_counted(tmp_path):
    modules = written(
        tmp_path, {"model/a.py": "def f(m):\n    return isinstance(m, (GPT, int)) or isinstance(m, Context)\n"}
    )
    assert family_tests(modules) == 2
    assert all(isinstance(module, Module) for module in modules.values())
