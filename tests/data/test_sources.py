"""Resolving a corpus's name to its files: paths, folders, archives, catalogue, standard input, this machine's library."""

import hashlib
import io
import re
import sys
import sysconfig
import zipfile
from pathlib import Path

import pytest

from lmlab import LabError
from lmlab.data import sources as module
from lmlab.data.cache import file_hashes
from lmlab.data.catalogue import CATALOGUE
from lmlab.data.catalogue_entry import CatalogueEntry, CatalogueFile
from lmlab.data.progress import Silent
from lmlab.data.scan import source_pieces
from lmlab.data.sources import part_of, resolve
from lmlab.data.stdlib import belongs, stdlib_files, stdlib_folder
from lmlab.files import cache_folder
from lmlab.recipe import Data
from tests.data.support import Listener


@pytest.fixture
def root(tmp_path):
    return tmp_path / "cache"


def documents_of(corpus, root):
    """The texts of its documents."""
    data, texts = Data(corpus=corpus), [""]
    for piece in source_pieces(resolve(data, root), data.column, "", Silent()):
        texts[-1] += piece.text
        texts += [""] if piece.last else []
    return texts[:-1]


def names(source):
    return [file.name for file in source.files]


class TestPaths:
    def test_file(self, tmp_path, root):
        path = tmp_path / "My Book.v2.txt.gz"
        path.write_bytes(b"\x1f\x8b")
        source = resolve(Data(corpus=str(path)), root)
        assert (names(source), source.name, source.rule) == ([path.name], "my-book-v2", "marker:<|endoftext|>")
        assert source.hashes == {path: hashlib.sha256(b"\x1f\x8b").hexdigest()}

    def test_folder_counts_every_visible_file_in_the_order_of_relative_paths(self, tmp_path, root):
        folder = tmp_path / "texts"
        for name in (
            "b/2.txt",
            "b.txt",
            "a/z.jsonl.zst",
            "a/__pycache__/x.pyc",
            ".git/config",
            "a/.hidden",
            "Z.parquet",
        ):
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).write_text(name)
        source = resolve(Data(corpus=str(folder)), root)
        assert names(source) == ["Z.parquet", "a/z.jsonl.zst", "b.txt", "b/2.txt"]
        assert [(file.kind, file.packing) for file in source.files] == [
            ("parquet", ""), ("jsonl", "zst"), ("text", ""), ("text", ""),
        ]  # fmt: skip

    def test_zip_archive_is_read_like_a_folder(self, tmp_path, root):
        path = tmp_path / "corpus.zip"
        with zipfile.ZipFile(path, "w") as archive:
            for name in ("in/wiki.valid.raw", "in/wiki.train.raw", "__MACOSX/in/wiki.train.raw", "in/.DS_Store"):
                archive.writestr(name, name)
        source = resolve(Data(corpus=str(path)), root)
        assert [(file.member, file.part) for file in source.files] == [
            ("in/wiki.train.raw", "train"), ("in/wiki.valid.raw", "valid"),
        ]  # fmt: skip
        assert documents_of(str(path), root) == [
            "in/wiki.train.raw", "in/wiki.valid.raw",
        ]  # fmt: skip

    def test_nothing_there_names_the_nearest_corpus(self, root):
        with pytest.raises(LabError, match="there is no corpus 'shakespear' here: did you mean shakespeare"):
            resolve(Data(corpus="shakespear"), root)
        with pytest.raises(LabError, match="expected a file, a folder, - or one of stdlib"):
            resolve(Data(corpus="xyz"), root)

    def test_empty_folder_and_damaged_archive_are_refused(self, tmp_path, root):
        (tmp_path / "none").mkdir()
        with pytest.raises(LabError, match="has no files"):
            resolve(Data(corpus=str(tmp_path / "none")), root)
        (tmp_path / "a.zip").write_text("no archive")
        with pytest.raises(LabError, match="can't be read as a zip archive"):
            resolve(Data(corpus=str(tmp_path / "a.zip")), root)


class TestPublishedParts:
    def test_names_that_say_so(self):
        said = {
            "train.txt": "train", "wiki.valid.raw": "valid", "val.jsonl.zst": "valid", "dev/a.txt": "valid",
            "x-test.txt.xz": "test", "validation-00001-of-00002.parquet": "valid", "Train.TXT": "train",
            "data/train-00000-of-00001.parquet": "train", "test/train.txt": "train",
        }  # fmt: skip
        assert {name: part_of(name) for name in said} == said
        silent = ("trainer.txt", "contest.txt", "train.py", "constrain.txt", "a.txt", "validity.jsonl")
        assert [part_of(name) for name in silent] == [""] * len(silent)

    def folder(self, tmp_path, *file_names):
        folder = tmp_path / "parts"
        folder.mkdir()
        for name in file_names:
            (folder / name).write_text(f"text of {name}")
        return str(folder)

    def test_train_and_valid_files_are_a_published_split_and_others_are_left_out_by_name(self, tmp_path, root):
        corpus = self.folder(tmp_path, "train.txt", "valid.txt", "test.txt", "README.md")
        source = resolve(Data(corpus=corpus), root)
        assert [file.part for file in source.files] == ["test", "train", "valid"]
        assert (source.published, source.left_out) == ("parts", ("README.md",))

    def test_another_split_takes_all_files(self, tmp_path, root):
        corpus = self.folder(tmp_path, "train.txt", "valid.txt", "README.md")
        source = resolve(Data(corpus=corpus, split="hash"), root)
        assert (len(source.files), source.published, source.left_out) == (3, "", ())

    def test_without_a_valid_part_the_test_part_validates_and_is_never_trained_on(self, tmp_path, root):
        source = resolve(Data(corpus=self.folder(tmp_path, "train.txt", "test.txt")), root)
        assert [(file.name, file.part) for file in source.files] == [("test.txt", "valid"), ("train.txt", "train")]

    def test_train_alone_is_no_split(self, tmp_path, root):
        assert resolve(Data(corpus=self.folder(tmp_path, "train.txt", "more.txt")), root).published == ""


class TestStandardInput:
    @pytest.fixture(autouse=True)
    def _fresh(self, monkeypatch):
        monkeypatch.setattr(module, "_spool_of_this_process", {})

    def give(self, monkeypatch, content):
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(content)))

    def test_it_is_kept_under_its_hash_and_read_once(self, root, monkeypatch):
        self.give(monkeypatch, b"piped text")
        first = resolve(Data(corpus="-"), root)
        again = resolve(Data(corpus="-"), root)  # the pipe is empty now
        assert (
            first.files[0].path
            == again.files[0].path
            == root / "stdin" / f"{hashlib.sha256(b'piped text').hexdigest()}.txt"
        )
        assert (first.name, first.files[0].path.read_bytes()) == ("stdin", b"piped text")
        assert [path.name for path in (root / "stdin").iterdir()] == [first.files[0].path.name]

    def test_the_same_text_piped_again_is_the_same_file(self, root, monkeypatch):
        paths = set()
        for _ in range(2):
            self.give(monkeypatch, b"piped text")
            module._spool_of_this_process.clear()
            paths.add(resolve(Data(corpus="-"), root).files[0].path)
        assert len(paths) == 1


class TestCatalogue:
    def test_every_entry_has_home_licence_and_what_verifies_it(self):
        small = {"stdlib", "shakespeare", "tinystories", "wikitext-2"}
        samples = {f"{name}{size}" for name in ("fineweb", "fineweb-edu") for size in ("", "-100bt", "-350bt")}
        assert set(CATALOGUE) == small | samples | {"openwebtext", "wikitext-103", "alpaca"}
        for entry in CATALOGUE.values():
            assert entry.licence and entry.home.startswith("https://")
            for file in entry.files:
                assert re.fullmatch("[0-9a-f]{64}", file.sha256)
                assert file.bytes > 0
                assert all(address.startswith("https://") for address in file.addresses)
            if entry.hub:
                assert re.fullmatch("[0-9a-f]{40}", entry.hub.revision)
        assert "NC" in CATALOGUE["alpaca"].licence and "no commercial use" in CATALOGUE["alpaca"].licence
        published = CATALOGUE["fineweb"].hub
        assert (published.documents, published.gpt2_tokens) == (14_868_862, 10_336_315_397)
        assert CATALOGUE["fineweb-edu"].hub.documents == 9_672_101

    def test_missing_file_says_in_one_line_what_to_put_where(self, root, monkeypatch):
        monkeypatch.setattr("urllib.request.urlopen", refuse)
        with pytest.raises(LabError) as caught:
            resolve(Data(corpus="shakespeare"), root)
        message = str(caught.value)
        assert "\n" not in message
        file = CATALOGUE["shakespeare"].files[0]
        for part in (
            file.addresses[0],
            file.sha256,
            str(root / "corpora" / "shakespeare" / "input.txt"),
            "--data.corpus FILE",
        ):
            assert part in message

    def test_looking_without_fetching_never_touches_the_network(self, root, monkeypatch):
        monkeypatch.setattr("urllib.request.urlopen", refuse)
        with pytest.raises(LabError, match="shakespeare is not downloaded yet: lmlab data prepare shakespeare"):
            resolve(Data(corpus="shakespeare"), root, fetch=False)

    @pytest.fixture
    def tiny_entry(self, monkeypatch):
        content = {"train.raw": b"a train text", "valid.raw": b"a valid text"}
        files = tuple(
            CatalogueFile(
                name=f"Tiny-{name}",
                addresses=("https://nowhere.invalid/",),
                sha256=hashlib.sha256(text).hexdigest(),
                bytes=len(text),
                members=(("", name.partition(".")[0]),),
            )
            for name, text in content.items()
        )
        entry = CatalogueEntry(
            name="tiny", about="", licence="x", home="https://x", files=files, published="parts", documents="lines"
        )
        monkeypatch.setitem(CATALOGUE, "tiny", entry)
        return content

    def test_files_put_into_the_cache_are_used_without_network(self, root, tiny_entry, monkeypatch):
        monkeypatch.setattr("urllib.request.urlopen", refuse)
        folder = root / "corpora" / "tiny"
        folder.mkdir(parents=True)
        for name, text in tiny_entry.items():
            (folder / f"Tiny-{name}").write_bytes(text)
        source = resolve(Data(corpus="tiny"), root)
        assert [(file.name, file.part) for file in source.files] == [
            ("Tiny-train.raw", "train"),
            ("Tiny-valid.raw", "valid"),
        ]
        assert (source.name, source.rule, source.published) == ("tiny", "lines", "parts")

    def test_local_copy_under_any_name_is_recognised_by_its_hash(self, root, tmp_path, tiny_entry):
        folder = tmp_path / "copy"
        folder.mkdir()
        for number, text in enumerate(tiny_entry.values()):
            (folder / f"{number}.dat").write_bytes(text)
        source = resolve(Data(corpus=str(folder)), root)
        assert (source.name, source.entry, source.rule, source.published) == ("tiny", "tiny", "lines", "parts")
        assert [file.part for file in source.files] == ["train", "valid"]
        (folder / "0.dat").write_bytes(b"changed")
        assert resolve(Data(corpus=str(folder)), root).entry == ""


def refuse(*arguments, **options):
    raise OSError("no network in tests")


class TestStandardLibrary:
    def test_it_is_found_in_the_order_of_its_paths_without_tests_packages_and_tables(self):
        found = [name for name, _ in stdlib_files()]
        assert found == sorted(found)
        assert {"json/decoder.py", "argparse.py", "asyncio/events.py"} <= set(found)
        outside = re.compile(
            r"(^|/)(test|tests|idle_test|site-packages|__pycache__|encodings)/|^pydoc_data/topics\.py$|_sysconfigdata"
        )
        assert not [name for name in found if outside.search(name)]
        assert all((Path(sysconfig.get_path("stdlib")) / name).is_file() for name in found)

    def test_rule(self):
        assert not belongs("lib2to3/tests/data/bom.py")
        assert not belongs("config-3.11-x86_64-linux-gnu/python-config.py")
        assert belongs("unittest/case.py")

    def test_files_that_are_not_utf8_are_passed_over_and_named(self, tmp_path, root, monkeypatch):
        (tmp_path / "latin.py").write_bytes("# -*- latin-1 -*- é".encode("latin-1"))
        (tmp_path / "good.py").write_text("pass\n<|endoftext|>\npass\n")
        monkeypatch.setattr("lmlab.data.stdlib.stdlib_folder", lambda: tmp_path)
        assert documents_of("stdlib", root) == ["pass\n<|endoftext|>\npass\n"]

    def test_python_without_sources_is_refused(self, tmp_path):
        with pytest.raises(LabError, match="no source files"):
            stdlib_files(tmp_path)
        assert stdlib_folder().is_dir()


class TestHashes:
    def test_unchanged_files_are_not_read_again(self, tmp_path, root):
        path = old_file(tmp_path / "a", b"one")
        first = file_hashes([path], "corpus", root, Listener())
        listener = Listener()
        assert file_hashes([path], "corpus", root, listener) == first
        assert listener.tasks == []

    def test_changed_file_is_read_again(self, tmp_path, root):
        path = old_file(tmp_path / "a", b"one")
        file_hashes([path], "corpus", root)
        old_file(path, b"two", seconds=50)
        assert file_hashes([path], "corpus", root)[path] == hashlib.sha256(b"two").hexdigest()

    def test_file_that_changed_just_now_is_not_trusted_by_its_time(self, tmp_path, root):
        path = tmp_path / "a"
        path.write_bytes(b"one")
        file_hashes([path], "corpus", root)
        stat = path.stat()
        path.write_bytes(b"two")
        __import__("os").utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns))
        assert file_hashes([path], "corpus", root)[path] == hashlib.sha256(b"two").hexdigest()

    def test_damaged_memory_is_no_memory(self, tmp_path, root):
        path = old_file(tmp_path / "a", b"one")
        expected = file_hashes([path], "corpus", root)
        for content in ("{", "[]", f'{{"{path}": [1, 2]}}'):
            next((root / "hashes").iterdir()).write_text(content)
            assert file_hashes([path], "corpus", root) == expected


def old_file(path, content, seconds=100):
    import os
    import time

    path.write_bytes(content)
    os.utime(path, (time.time() - seconds,) * 2)
    return path


def test_cache_folder_follows_the_environment(monkeypatch, tmp_path):
    monkeypatch.setenv("LMLAB_CACHE", str(tmp_path / "here"))
    assert cache_folder() == tmp_path / "here"
    monkeypatch.delenv("LMLAB_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    monkeypatch.setattr(sys, "platform", "linux")
    assert cache_folder() == tmp_path / "xdg" / "lmlab"
    monkeypatch.setattr(sys, "platform", "darwin")
    assert cache_folder().parts[-3:] == ("Library", "Caches", "lmlab")
