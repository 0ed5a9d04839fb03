"""How the package is put together, counted from its source: sizes, floors, circles, and how far one value travels.

    python tools/structure.py                      # this checkout
    python tools/structure.py OTHER                # another one, such as a worktree of an earlier commit
    python tools/structure.py --walk               # the functions that a training's recipe is passed to, in order
    python tools/structure.py --json

Nothing of the package is imported or run. A **stop** of the walk is a function that gets the recipe, or a part of it such as
`recipe.model`, as an argument, reached from `experiment.start.train` by calls that can be told from names: functions and classes
that a module imports or defines, and methods of `self`. Calls of values (hooks, fields) aren't followed, so the count is a lower
bound, and one that serves to compare two states of the code.
"""

from __future__ import annotations

import argparse
import ast
import json
import sys
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

PACKAGE = "lmlab"
FLOORS = {
    "cli": 10,
    "chain": 9,
    "report": 8,
    **dict.fromkeys(("study", "judge", "serve"), 7),
    "experiment": 6,
    "planning": 5,
    "training": 4,
    **dict.fromkeys(("evaluation", "generation", "exchange"), 3),
    **dict.fromkeys(("model", "optim"), 2),
    **dict.fromkeys(("data", "runs", "checkpoint", "native"), 1),
    **dict.fromkeys(("recipe", "scaling", "hardware", "stats", "files"), 0),
}
"""Package -> its floor. A package imports from floors below its own, or from itself."""
SMALL_FILE = 60
START = ("lmlab.experiment.start", "train", "recipe")
FAMILIES = {"GPT": ("GPT", "GPTModel"), "context": ("Context", "ContextModel")}
"""Model family -> the classes that name it."""


@dataclass
class Module:
    """A file of the package."""

    name: str
    path: Path
    tree: ast.Module
    lines: int
    imports: dict[str, str] = field(default_factory=dict)
    """A name in the file -> where it is from, such as lmlab.recipe.check.check."""
    imported: set[str] = field(default_factory=set)
    """Modules of the package that are imported when this one is, later in a function, or for types alone."""
    loaded: set[str] = field(default_factory=set)
    """Those of them that are imported when this one is."""
    definitions: dict[str, ast.FunctionDef | ast.ClassDef] = field(default_factory=dict)
    """Functions, classes and methods (Class.method)."""


def modules_in(root: Path) -> dict[str, Module]:
    """Name -> module, of all files of the package in a checkout."""
    found = {}
    for path in sorted((root / PACKAGE).rglob("*.py")):
        parts = path.relative_to(root).with_suffix("").parts
        name = ".".join(parts[:-1] if parts[-1] == "__init__" else parts)
        text = path.read_text(encoding="utf-8")
        found[name] = Module(name=name, path=path, tree=ast.parse(text), lines=text.count("\n"))
    for module in found.values():
        _read_imports(module, found)
        _read_definitions(module)
    return found


def _read_imports(module: Module, modules: dict[str, Module]) -> None:
    at_load = {id(node) for node in module.tree.body}
    for node in ast.walk(module.tree):
        named = []
        if isinstance(node, ast.Import):
            named = [(one.name, one.asname or one.name) for one in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module:
            named = [(f"{node.module}.{one.name}", one.asname or one.name) for one in node.names]
        for whole, name in named:
            if whole.split(".")[0] == PACKAGE:
                other = whole if whole in modules else whole.rpartition(".")[0]
                module.imports[name] = whole
                module.imported.add(other)
                if id(node) in at_load:
                    module.loaded.add(other)


def _read_definitions(module: Module) -> None:
    for node in module.tree.body:
        if isinstance(node, (ast.FunctionDef, ast.ClassDef)):
            module.definitions[node.name] = node
        if isinstance(node, ast.ClassDef):
            for inner in node.body:
                if isinstance(inner, ast.FunctionDef):
                    module.definitions[f"{node.name}.{inner.name}"] = inner


def package_of(name: str) -> str:
    """The package that a module or name belongs to; empty for the front door itself."""
    parts = name.split(".")
    return parts[1] if len(parts) > 1 and parts[1] in FLOORS else ""


def upward_imports(modules: dict[str, Module]) -> list[str]:
    """Imports from a package's own floor or one above it, as lines."""
    return [
        f"{module.name} (floor {FLOORS[own]}) imports {other} (floor {FLOORS[theirs]})"
        for module in modules.values()
        for other in sorted(module.imported)
        if (own := package_of(module.name)) and (theirs := package_of(other)) and own != theirs
        if FLOORS[theirs] >= FLOORS[own]
    ]


def circles(modules: dict[str, Module]) -> list[list[str]]:
    """Groups of modules that load one another, the largest first (Tarjan's strongly connected components)."""
    index: dict[str, int] = {}
    low: dict[str, int] = {}
    stack: list[str] = []
    found: list[list[str]] = []

    def visit(name: str) -> None:
        index[name] = low[name] = len(index)
        stack.append(name)
        for other in sorted(modules[name].loaded & modules.keys()):
            if other not in index:
                visit(other)
                low[name] = min(low[name], low[other])
            elif other in stack:
                low[name] = min(low[name], index[other])
        if low[name] == index[name]:
            group = []
            while not group or group[-1] != name:
                group.append(stack.pop())
            if len(group) > 1:
                found.append(sorted(group))

    sys.setrecursionlimit(10_000)
    for name in modules:
        if name not in index:
            visit(name)
    return sorted(found, key=len, reverse=True)


@dataclass(frozen=True)
class Stop:
    """A function that gets the recipe."""

    module: str
    function: str
    depth: int

    def line(self) -> str:
        """Where, indented by how many calls it took."""
        return f"{'  ' * self.depth}{self.module.removeprefix(PACKAGE + '.')}: {self.function}"


def walk(modules: dict[str, Module], start: tuple[str, str, str] = START) -> list[Stop]:
    """The stops of a value, from a module's function and its parameter; each function once, in the order of the code."""
    stops: list[Stop] = []
    seen: set[tuple[str, str]] = set()

    def enter(module: Module, function: str, names: set[str], depth: int) -> None:
        if (module.name, function) in seen:
            return
        seen.add((module.name, function))
        stops.append(Stop(module.name, function, depth))
        node = module.definitions[function]
        for call in _calls(node):
            target = _target(modules, module, function, call.func)
            if target is None:
                continue
            passed = _passed(call, target[0].definitions[target[1]], names)
            if passed:
                enter(*target, passed, depth + 1)

    enter(modules[start[0]], start[1], {start[2]}, 0)
    return stops


def _calls(node: ast.AST) -> Iterator[ast.Call]:
    """Calls in the order in which they stand, inner ones first."""
    for child in ast.iter_child_nodes(node):
        yield from _calls(child)
    if isinstance(node, ast.Call):
        yield node


def _target(modules: dict[str, Module], module: Module, function: str, called: ast.expr) -> tuple[Module, str] | None:
    """The module and function that is called; None where names don't tell."""
    if isinstance(called, ast.Attribute) and isinstance(called.value, ast.Name):
        if called.value.id == "self" and "." in function:
            method = f"{function.split('.')[0]}.{called.attr}"
            return (module, method) if method in module.definitions else None
        whole = f"{module.imports.get(called.value.id, '')}.{called.attr}"
    elif isinstance(called, ast.Name):
        if called.id in module.definitions:
            return _callable(module, called.id)
        whole = module.imports.get(called.id, "")
    else:
        return None
    return _resolved(modules, whole)


def _resolved(modules: dict[str, Module], whole: str) -> tuple[Module, str] | None:
    """The definition that a dotted name stands for, through the packages that pass names on."""
    for _ in range(4):
        place, _, name = whole.rpartition(".")
        if place not in modules:
            return None
        if name in modules[place].definitions:
            return _callable(modules[place], name)
        whole = modules[place].imports.get(name, "")
    return None


def _callable(module: Module, name: str) -> tuple[Module, str] | None:
    """The function of that name, or the class's __init__; None for a class without one, in which a value is put down."""
    if isinstance(module.definitions[name], ast.FunctionDef):
        return module, name
    return (module, f"{name}.__init__") if f"{name}.__init__" in module.definitions else None


def _passed(call: ast.Call, node: ast.FunctionDef | ast.ClassDef, names: set[str]) -> set[str]:
    """The callee's parameters that get one of these names or a part of it."""
    if not isinstance(node, ast.FunctionDef):
        return set()
    parameters = [one.arg for one in (*node.args.posonlyargs, *node.args.args)]
    if parameters[:1] in (["self"], ["cls"]):
        parameters = parameters[1:]
    found = {parameter for parameter, argument in zip(parameters, call.args, strict=False) if _root(argument) in names}
    return found | {one.arg for one in call.keywords if one.arg and _root(one.value) in names}


def _root(node: ast.expr) -> str:
    """`recipe` of recipe.model.width; self.recipe for itself; empty for anything but names and attributes."""
    while isinstance(node, ast.Attribute):
        if isinstance(node.value, ast.Name) and node.value.id == "self":
            return node.attr
        node = node.value
    return node.id if isinstance(node, ast.Name) else ""


def family_mentions(modules: dict[str, Module]) -> dict[str, list[str]]:
    """Family -> the modules that name one of its classes, its own among them."""
    found: dict[str, list[str]] = {}
    for family, classes in FAMILIES.items():
        found[family] = [
            module.name
            for module in modules.values()
            if any(isinstance(node, ast.Name) and node.id in classes for node in ast.walk(module.tree))
        ]
    return found


def family_tests(modules: dict[str, Module]) -> int:
    """How often the code asks which family a model is of (isinstance)."""
    classes = {name for names in FAMILIES.values() for name in names}
    return sum(
        isinstance(node, ast.Call)
        and isinstance(node.func, ast.Name)
        and node.func.id == "isinstance"
        and any(isinstance(inner, ast.Name) and inner.id in classes for inner in ast.walk(node.args[1]))
        for module in modules.values()
        for node in ast.walk(module.tree)
    )


def figures(root: Path) -> dict[str, object]:
    """Everything that is counted."""
    modules = modules_in(root)
    stops = walk(modules)
    groups = circles(modules)
    lines = Counter[str]()
    files = Counter[str]()
    for module in modules.values():
        lines[package_of(module.name) or "lmlab"] += module.lines
        files[package_of(module.name) or "lmlab"] += 1
    return {
        "files": len(modules),
        "lines": sum(module.lines for module in modules.values()),
        "files_below_60_lines": sum(module.lines < SMALL_FILE for module in modules.values()),
        "packages": {name: {"files": files[name], "lines": lines[name]} for name in sorted(lines, key=lines.get)},  # type: ignore[arg-type]
        "walk_stops": len(stops),
        "walk_files": len({stop.module for stop in stops}),
        "modules_naming_a_family": {family: len(names) for family, names in family_mentions(modules).items()},
        "isinstance_of_families": family_tests(modules),
        "largest_circle": len(groups[0]) if groups else 0,
        "upward_imports": upward_imports(modules),
    }


def main() -> int:
    """Count and print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("root", nargs="?", type=Path, default=Path(__file__).resolve().parent.parent)
    parser.add_argument("--walk", action="store_true", help="list the stops of the recipe")
    parser.add_argument("--json", action="store_true")
    flags = parser.parse_args()
    if flags.walk:
        print("\n".join(stop.line() for stop in walk(modules_in(flags.root))))
        return 0
    found = figures(flags.root)
    if flags.json:
        print(json.dumps(found, indent=2))
        return 0
    for name, value in found.items():
        if name == "packages":
            for package, sizes in value.items():  # type: ignore[attr-defined]
                print(f"  {package:12} {sizes['files']:4} files {sizes['lines']:7,} lines")
        else:
            print(f"{name.replace('_', ' ')}: {value}")
    return 1 if found["upward_imports"] else 0


if __name__ == "__main__":
    sys.exit(main())
