"""An earlier build can be loaded by its identity as long as the cache has it as it was."""

import json
import shutil

import pytest

from lmlab.native import build, library
from lmlab.native.build import find_build, find_or_build
from tests.native.test_build import EXPORT, SOURCE, entries, needs_compiler, said, write_source  # noqa: F401

pytestmark = needs_compiler


@pytest.fixture
def two(write_source, native_cache, monkeypatch):  # noqa: F811
    """An earlier build, and the newest, of other source."""
    which = f"{EXPORT} int which() {{ return %d; }}\n"
    monkeypatch.setattr(library, "SOURCE", write_source(three_cpp=which % 1))
    earlier = find_or_build(library.SOURCE, native_cache, print)
    write_source(three_cpp=which % 2)
    return earlier, find_or_build(library.SOURCE, native_cache, print)


def change_record(entry, **changes):
    path = entry / "build.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


def test_both_can_be_in_one_process(two, said):  # noqa: F811
    earlier, newest = two
    loaded = library.load(said.append, identity=earlier.identity)
    assert isinstance(loaded, library.Library) and loaded.functions.which() == 1 and loaded.build == earlier
    assert library.load(said.append).functions.which() == 2
    assert library.load(said.append, identity=newest.identity).functions.which() == 2
    assert library.load(said.append, identity=earlier.identity) is loaded and said == []


def test_nothing_is_built_or_asked_of_a_compiler(two, monkeypatch):
    monkeypatch.setenv("CXX", "no-such-compiler")
    assert library.load(identity=two[0].identity).functions.which() == 1


def test_one_that_is_not_there_is_a_reason(two, tmp_path, monkeypatch):
    found = library.load(identity="0" * 16)
    assert isinstance(found, library.Missing) and "0" * 16 in found.reason and str(tmp_path) in found.reason
    monkeypatch.setenv("LMLAB_CACHE", str(tmp_path / "empty"))
    assert isinstance(library.load(identity=two[0].identity), library.Missing)
    assert not (tmp_path / "empty").exists()


@pytest.mark.parametrize("identity", ["", "ab", "None"])
def test_no_other_is_taken_for_half_an_identity(two, native_cache, identity):
    assert find_build(identity, native_cache) is None
    assert find_build(two[0].identity[:8], native_cache) is None


def test_a_damaged_library_is_none(two):
    two[0].path.write_bytes(two[0].path.read_bytes() + b"\0")
    assert isinstance(library.load(identity=two[0].identity), library.Missing)


def test_one_for_another_processor_is_none(two):
    change_record(two[0].path.parent, processor="another")
    assert isinstance(library.load(identity=two[0].identity), library.Missing)


def test_a_record_that_failed_or_is_damaged_hides_no_other(two, native_cache):
    broken = native_cache / ("0" * 32)
    shutil.copytree(two[0].path.parent, broken)
    for record in ('{"format": 1, "failed": "why"}', "[]", ""):
        (broken / "build.json").write_text(record)
        assert find_build(two[0].identity, native_cache) == two[0]


def test_one_of_another_format_is_none(two, monkeypatch):
    monkeypatch.setattr(library, "FORMAT", build.FORMAT + 1)
    found = library.load(identity=two[0].identity)
    assert (
        isinstance(found, library.Missing) and f"has format {build.FORMAT}: expected {build.FORMAT + 1}" in found.reason
    )


def test_what_another_process_builds_later_is_found(two, tmp_path):
    shutil.move(two[0].path.parent, tmp_path / "kept")
    assert isinstance(library.load(identity=two[0].identity), library.Missing)
    shutil.move(tmp_path / "kept", two[0].path.parent)
    assert library.load(identity=two[0].identity).functions.which() == 1


@pytest.mark.parametrize("wish, kept", [("off", False), ("rebuild", True)])
def test_the_user_s_setting_counts_for_it_too(two, said, monkeypatch, wish, kept):  # noqa: F811
    monkeypatch.setenv("LMLAB_NATIVE", wish)
    found = library.load(said.append, identity=two[0].identity)
    assert isinstance(found, library.Library) == kept
    assert len(said) == (wish == "rebuild")
