"""The project's own files agree with one another and with the code."""

import ast
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

import lmlab

ROOT = Path(__file__).parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
# Modules whose package has another name.
PACKAGES = {
    "tomli_w": "tomli-w",
    "docstring_parser": "docstring-parser",
    "huggingface_hub": "huggingface-hub",
    "lm_eval": "lm-eval",
    "llama_cpp": "llama-cpp-python",
}


def package_name(requirement):
    return re.match(r"[A-Za-z0-9_.-]+", requirement).group().lower().replace("_", "-")


def declared(extras=()):
    found = list(PROJECT["project"]["dependencies"])
    for extra in extras:
        found += PROJECT["project"]["optional-dependencies"][extra]
    return {package_name(requirement) for requirement in found} - {"lmlab"}


def imported_modules():
    for path in (ROOT / "lmlab").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            if isinstance(node, ast.ImportFrom) and not node.level:
                names = [node.module]
            for name in names:
                yield name.partition(".")[0], path


def test_every_package_that_is_imported_is_declared():
    known = declared(("parquet", "zstd", "compare", "tune", "harness", "hub", "export", "llama", "serve", "report"))
    for module, path in imported_modules():
        if module not in sys.stdlib_module_names and module != "lmlab":
            assert PACKAGES.get(module, module).lower() in known, f"{path} imports {module}"


def test_every_declared_package_is_imported():
    used = {PACKAGES.get(module, module).lower() for module, _ in imported_modules()}
    assert declared() <= used


def test_every_package_of_the_set_up_is_pinned():
    lines = (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    pins = [line for line in lines if line and not line.startswith("#")]
    assert all(re.fullmatch(r"[A-Za-z0-9_.-]+==[0-9][0-9A-Za-z.]*", line) for line in pins)
    names = [package_name(line) for line in pins]
    assert len(names) == len(set(names))
    assert declared(("dev", "parquet", "report", "tune", "zstd")) <= set(names)


def test_the_version_is_found_without_importing_torch():
    code = "import sys, lmlab.cli; print(lmlab.__version__, 'torch' in sys.modules, 'numpy' in sys.modules)"
    found = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert found.stdout.split() == [lmlab.__version__, "False", "False"]


@pytest.mark.parametrize("verb", ["recipes", "report"])
def test_the_help_of_a_light_verb_imports_neither_torch_nor_matplotlib(verb):
    code = (
        "import atexit, sys\n"
        "atexit.register(lambda: print([name for name in ('torch', 'matplotlib', 'pyarrow') if name in sys.modules]))\n"
        f"import lmlab.cli; sys.exit(lmlab.cli.main(['{verb}', '--help']))"
    )
    found = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert found.returncode == 0, found.stderr
    assert found.stdout.splitlines()[-1] == "[]"


def test_no_file_names_a_folder_of_somebody_s_machine():
    listed = subprocess.run(["git", "ls-files", "-co", "--exclude-standard"], cwd=ROOT, capture_output=True, text=True)
    if listed.returncode:
        pytest.skip("not a git checkout")
    homes = re.compile(r"(?<![A-Za-z0-9_.])/(home|Users)/[a-z]")
    for name in listed.stdout.split("\n"):
        path = ROOT / name
        if path.suffix in (".py", ".md", ".toml", ".txt", ".yml") and path != Path(__file__) and path.is_file():
            assert not homes.search(path.read_text(encoding="utf-8")), name
