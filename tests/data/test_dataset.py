"""Opening a data set that may be damaged or hostile: refused in one line, before anything in it is used."""

import json
import shutil

import numpy as np
import pytest

from lmlab import LabError
from lmlab.data.dataset import find_dataset, list_datasets, open_dataset
from lmlab.data.manifest import files_of
from lmlab.data.preparation import prepare
from lmlab.recipe import Data
from tests.data.support import write_stories


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    folder = tmp_path_factory.mktemp("made")
    write_stories(folder / "stories.txt", 100)
    return prepare(Data(corpus=str(folder / "stories.txt"), tokenizer="bytes"), folder / "cache")


@pytest.fixture
def copy(made, tmp_path):
    """A copy of the folder, to damage."""
    return shutil.copytree(made.folder, tmp_path / made.folder.name)


def edit(folder, *path, value):
    """Set one entry of the manifest."""
    manifest = json.loads((folder / "manifest.json").read_text())
    *way, last = path
    place = manifest
    for step in way:
        place = place[step]
    place[last] = value
    (folder / "manifest.json").write_text(json.dumps(manifest))


def check_refused(folder, match):
    with pytest.raises(LabError, match=match) as caught:
        open_dataset(folder)
    assert "\n" not in str(caught.value)


def test_copy_elsewhere_is_as_good_as_the_original(made, copy):
    dataset = open_dataset(copy)
    assert (dataset.id, dataset.name, dataset.splits) == (made.id, "stories", ("train", "valid"))
    assert (dataset.tokens("train") == made.tokens("train")).all()
    dataset.verify()


def test_arrays_are_read_only_maps(made):
    for array in (made.tokens("train"), made.document_starts("train"), made.units("valid")):
        assert isinstance(array, np.memmap)
        with pytest.raises(ValueError, match="read-only"):
            array[0] = array[1]


@pytest.mark.parametrize(
    ("path", "value"),
    [
        (("format",), 2),
        (("format",), None),
        (("id",), "../../etc/passwd"),
        (("id",), 7),
        (("token_type",), "float64"),
        (("token_type",), "uint32"),
        (("splits",), {}),
        (("splits",), ["train", "valid"]),
        (("splits", "train", "tokens"), 10**18),
        (("splits", "train", "tokens"), -1),
        (("splits", "train", "tokens"), "many"),
        (("splits", "train", "unit"), "page"),
        (("splits", "valid", "documents"), True),
        (("files", "tokens-train.bin", "bytes"), 10**18),
        (("files", "tokens-train.bin", "sha256"), "x"),
        (("files", "../../etc/passwd"), {"bytes": 1, "sha256": "0" * 64}),
        (("files",), {}),
        (("files", "tokens-train.bin"), None),
        (("files", "tokenizer.json"), {}),
        (("tokenizer", "vocabulary"), 10**12),
        (("tokenizer", "vocabulary"), 0),
        (("tokenizer", "lossless"), "yes"),
        (("corpus",), None),
        (("corpus", "name"), 3),
        (("duplicates", "lines"), "x"),
        (("splits", "../evil"), {"tokens": 1, "documents": 1, "units": 1, "bytes": 1, "unit": "block"}),
    ],
)
def test_manifest_that_lies_is_refused(copy, path, value):
    edit(copy, *path, value=value)
    check_refused(copy, "is not a valid manifest|format")


@pytest.mark.parametrize("content", ["", "[]", "null", "{", '{"format": 1}', "[" * 100_000, "\xff"])
def test_file_that_is_no_manifest_is_refused(copy, content):
    (copy / "manifest.json").write_bytes(content.encode("latin-1"))
    check_refused(copy, "manifest.json")


def test_view_that_leads_out_of_its_folder_is_refused(tmp_path):
    (tmp_path / "manifest.json").write_text(
        json.dumps({"format": 1, "id": "0" * 16, "view_of": "../../elsewhere", "train_tokens": 5})
    )
    check_refused(tmp_path, "expected the name of a data set's folder")


def test_view_of_more_tokens_than_there_are_is_refused(copy):
    view = copy.parent / ("stories-" + "0" * 16)
    view.mkdir()
    (view / "manifest.json").write_text(
        json.dumps({"format": 1, "id": "0" * 16, "view_of": copy.name, "train_tokens": 10**15})
    )
    check_refused(view, "does not fit")


@pytest.mark.parametrize("name", files_of(["train", "valid"]))
def test_missing_or_shortened_file_is_named(copy, name):
    content = (copy / name).read_bytes()
    (copy / name).write_bytes(content[:-1])
    check_refused(copy, f"{name} has {len(content) - 1:,} bytes, expected {len(content):,}")
    (copy / name).unlink()
    check_refused(copy, f"{name} is missing")


@pytest.mark.parametrize("name", files_of(["train", "valid"]))
def test_one_changed_byte_is_found_by_verify(copy, name):
    content = bytearray((copy / name).read_bytes())
    content[len(content) // 2] ^= 1
    (copy / name).write_bytes(content)
    with pytest.raises(LabError, match=f"{name} is damaged, its SHA-256 changed"):
        open_dataset(copy).verify()


def test_table_of_another_type_is_refused_when_read(copy, made):
    starts = np.load(made.folder / "documents-train.npy")
    np.save(copy / "documents-train.npy", starts.astype(np.float64))
    with pytest.raises(LabError, match="of '<f8', expected"):
        open_dataset(copy).document_starts("train")


def test_pickled_table_is_never_loaded(copy):
    path = copy / "units-train.npy"
    size = path.stat().st_size
    np.save(path, np.array([{"evil": 1}], dtype=object), allow_pickle=True)
    path.write_bytes(path.read_bytes().ljust(size, b"\0")[:size])
    with pytest.raises(LabError, match="of '.O', expected"):
        open_dataset(copy).units("train")


def test_token_outside_the_vocabulary_is_found_by_verify(copy, monkeypatch):
    tokens = np.fromfile(copy / "tokens-valid.bin", dtype=np.uint16)
    tokens[3] = 5000
    tokens.tofile(copy / "tokens-valid.bin")
    from lmlab.files import sha256_of_file

    edit(copy, "files", "tokens-valid.bin", "sha256", value=sha256_of_file(copy / "tokens-valid.bin"))
    with pytest.raises(LabError, match="valid has token 5000, expected at most 256"):
        open_dataset(copy).verify()


def test_unknown_split_id_and_folder_are_refused(made, tmp_path):
    with pytest.raises(LabError, match="stories has no split 'dev': expected one of train, valid"):
        made.tokens("dev")
    with pytest.raises(LabError, match="there is no data set 0000000000000000"):
        find_dataset("0" * 16, tmp_path)
    with pytest.raises(LabError, match="there is no data set"):
        find_dataset("*", made.folder.parent.parent)
    with pytest.raises(LabError, match="is not a prepared data set: expected a folder with manifest.json"):
        open_dataset(tmp_path / "nothing")


def test_list_passes_over_what_can_t_be_opened(made):
    root = made.folder.parent.parent
    broken = made.folder.parent / ("broken-" + "0" * 16)
    broken.mkdir()
    assert [dataset.id for dataset in list_datasets(root)] == [made.id]
    broken.rmdir()


def test_importing_the_package_imports_nothing_heavy():
    import subprocess
    import sys

    script = (
        "import sys, lmlab.data, lmlab.data.catalogue, lmlab.cli.errors\n"
        "print(*{'numpy', 'torch', 'pyarrow', 'tokenizers', 'tiktoken', 'matplotlib'} & set(sys.modules))\n"
        "import lmlab.data.preparation\n"
        "print(*{'torch', 'pyarrow', 'tokenizers', 'tiktoken', 'matplotlib'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.split() == []
