"""Code that runs as the user is loaded from nowhere that others may write."""

import os
import shutil
import stat

import pytest

from lmlab import LabError
from lmlab.native import build, library, private
from lmlab.native.build import find_build, find_or_build
from tests.native.test_build import entries, needs_compiler, said, write_source  # noqa: F401

pytestmark = pytest.mark.skipif(os.name != "posix", reason="owners and modes are POSIX's")


def mode(path):
    return stat.S_IMODE(path.stat().st_mode)


@pytest.fixture
def of_another_user(monkeypatch):
    """of_another_user(path): from now on `path` looks as if somebody else owned it."""
    foreign = set()
    real = private.Path.lstat

    def lstat(path):
        facts = real(path)
        if path not in foreign:
            return facts
        return os.stat_result((*facts[:4], os.geteuid() + 4321, *facts[5:10]))

    monkeypatch.setattr(private.Path, "lstat", lstat)
    return foreign.add


@pytest.fixture
def never_run(monkeypatch):
    """Nothing may be loaded, checked or compiled from here on."""

    def call():
        def never(*arguments, **options):
            raise AssertionError("code was run")

        monkeypatch.setattr(library.ctypes, "CDLL", never)
        monkeypatch.setattr(build, "_self_check", never)

    return call


@needs_compiler
class TestWhatIsBuilt:
    @pytest.mark.parametrize("mask", [0o022, 0o002, 0o000])
    def test_is_for_its_owner_alone_whatever_the_umask(self, write_source, native_cache, mask):  # noqa: F811
        before = os.umask(mask)
        try:
            made = find_or_build(write_source(), native_cache, print)
        finally:
            os.umask(before)
        assert [mode(path) for path in (native_cache, made.path.parent, made.path)] == [0o700] * 3

    @pytest.mark.parametrize("which", ["the folder", "the entry", "the library"])
    def test_is_closed_to_the_group_and_used_where_it_is_the_user_s_own(self, write_source, native_cache, said, which):  # noqa: F811
        made = find_or_build(write_source(), native_cache, print)
        path = {"the folder": native_cache, "the entry": made.path.parent, "the library": made.path}[which]
        path.chmod(0o775)
        assert find_or_build(write_source(), native_cache, said.append) == made
        assert said == [] and mode(path) == 0o755

    def test_is_built_again_where_everyone_could_write_the_library(self, write_source, native_cache, said):  # noqa: F811
        made = find_or_build(write_source(), native_cache, print)
        made.path.chmod(0o777)
        assert find_build(made.identity, native_cache) is None
        assert find_or_build(write_source(), native_cache, said.append) == made
        assert len(said) == 1 and mode(made.path) == 0o700

    def test_a_folder_below_one_that_all_may_write_is_fine(self, write_source, tmp_path):  # noqa: F811
        (tmp_path / "tmp").mkdir()
        (tmp_path / "tmp").chmod(0o1777)
        made = find_or_build(write_source(), tmp_path / "tmp" / "lmlab" / "native", print)
        assert find_build(made.identity, tmp_path / "tmp" / "lmlab" / "native") == made

    def test_a_link_to_a_folder_of_one_s_own_is_fine(self, write_source, native_cache, tmp_path, said):  # noqa: F811
        (tmp_path / "elsewhere").mkdir(mode=0o700)
        native_cache.symlink_to(tmp_path / "elsewhere", target_is_directory=True)
        made = find_or_build(write_source(), native_cache, said.append)
        assert made.path.parent.parent == tmp_path / "elsewhere"
        assert find_or_build(write_source(), native_cache, said.append) == made and len(said) == 1


@needs_compiler
@pytest.mark.parametrize("which", ["the folder", "the entry", "the library"])
def test_nothing_of_another_user_s_is_loaded(
    write_source,  # noqa: F811
    native_cache,
    monkeypatch,
    of_another_user,
    never_run,
    which,
):
    monkeypatch.setattr(library, "SOURCE", write_source())
    made = find_or_build(library.SOURCE, native_cache, print)
    path = {"the folder": native_cache, "the entry": made.path.parent, "the library": made.path}[which]
    of_another_user(path)
    never_run()
    for identity in ("", made.identity):
        found = library.load(identity=identity)
        assert isinstance(found, library.Missing) and "\n" not in found.reason
        if not identity:
            assert f"{path} belongs to another user" in found.reason and "LMLAB_CACHE" in found.reason


@needs_compiler
@pytest.mark.parametrize("which", ["the entry", "the library"])
def test_nothing_is_loaded_through_a_link_in_the_folder(
    write_source,  # noqa: F811
    native_cache,
    tmp_path,
    monkeypatch,
    never_run,
    which,
):
    monkeypatch.setattr(library, "SOURCE", write_source())
    made = find_or_build(library.SOURCE, native_cache, print)
    path = made.path.parent if which == "the entry" else made.path
    shutil.move(path, tmp_path / "moved")
    path.symlink_to(tmp_path / "moved")
    never_run()
    found = library.load()
    assert isinstance(found, library.Missing) and f"{path} is a link" in found.reason
    assert isinstance(library.load(identity=made.identity), library.Missing)


def test_a_mode_that_can_not_be_changed_is_a_reason(tmp_path, monkeypatch):
    tmp_path.chmod(0o777)
    monkeypatch.setattr(private.Path, "chmod", lambda path, mode: None)  # as on a mounted Windows disk
    with pytest.raises(
        LabError, match="can be written by other users, and its mode can't be changed: remove it, or set"
    ):
        private.require_private(tmp_path)


@pytest.mark.skipif(os.name != "posix" or os.geteuid() != 0, reason="only root gives files away")
def test_files_that_were_really_given_away_are_refused(tmp_path):
    folder = private.private_folder(tmp_path / "native")
    os.chown(folder, 12345, 12345)
    with pytest.raises(LabError, match=r"native belongs to another user"):
        private.private_folder(folder)
    (entry,) = entries(tmp_path)
    assert entry == folder
