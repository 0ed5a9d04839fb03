"""From C++ to a loaded library: built once, never half seen, and every failure is a reason rather than a crash."""

import ctypes
import json
import os
import platform
import shlex
import signal
import subprocess
import sys
import time
import tomllib
from pathlib import Path

import numpy as np
import pytest

from lmlab import LabError
from lmlab.native import build, compiler, library, processor
from lmlab.native.build import NOTICE, find_or_build
from lmlab.native.compiler import find_compiler
from lmlab.native.processor import linux_identity

ROOT = Path(__file__).parents[2]
EXPORT = 'extern "C" __attribute__((visibility("default")))'
SOURCE = {
    "answer.h": "int answer();",
    "one.cpp": f'#include "answer.h"\n{EXPORT} int lmlab_format() {{ return {build.FORMAT}; }}\n'
    f"{EXPORT} int lmlab_selfcheck() {{ return answer() - 42; }}\n",
    "two.cpp": f'#include "answer.h"\nint answer() {{ return 42; }}\n{EXPORT} int twice(int x) {{ return 2 * x; }}\n',
}


def has_compiler():
    try:
        return bool(find_compiler(Path(os.devnull)))
    except LabError:
        return False


needs_compiler = pytest.mark.skipif(not has_compiler(), reason="needs g++ or clang++")
posix_only = pytest.mark.skipif(os.name == "nt", reason="a shell script stands in for the compiler")


@pytest.fixture
def write_source(tmp_path):
    """write_source(**files): a folder with SOURCE, some of its files replaced."""

    def write(**files):
        folder = tmp_path / "source"
        folder.mkdir(exist_ok=True)
        for name, text in {**SOURCE, **{name.replace("_", "."): text for name, text in files.items()}}.items():
            (folder / name).write_text(text)
        return folder

    return write


@pytest.fixture
def cache(tmp_path):
    return tmp_path / "cache"


@pytest.fixture
def said():
    """What a build has told, as a list to give as `said.append`."""
    return []


@pytest.fixture
def stand_in(tmp_path, monkeypatch):
    """stand_in(script): $CXX is a shell script that answers --version and else does what `script` says."""

    def make(script):
        path = tmp_path / "stand-in"
        real = find_compiler(tmp_path).command[0]
        path.write_text(f'#!/bin/sh\nREAL={real}\nif [ "$1" = --version ]; then exec $REAL --version; fi\n{script}\n')
        path.chmod(0o755)
        monkeypatch.setenv("CXX", str(path))
        return path

    return make


def entries(cache):
    return sorted(path for path in cache.iterdir() if path.is_dir())


@needs_compiler
class TestBuilding:
    def test_sources_become_one_library_that_works(self, write_source, cache, said):
        made = find_or_build(write_source(), cache, said.append)
        assert ctypes.CDLL(str(made.path)).twice(21) == 42
        assert made.compiler == find_compiler(cache).version
        assert said == [NOTICE]

    def test_only_what_is_exported_is_seen(self, write_source, cache):
        functions = ctypes.CDLL(str(find_or_build(write_source(), cache, print).path))
        assert not hasattr(functions, "answer") and not hasattr(functions, "_Z6answerv")

    def test_the_second_time_nothing_is_compiled_or_said(self, write_source, cache, said, monkeypatch):
        first = find_or_build(write_source(), cache, print)
        monkeypatch.setattr(build, "_build", None)
        assert find_or_build(write_source(), cache, said.append) == first
        assert said == []

    def test_equal_builds_are_equal_bytes(self, write_source, tmp_path):
        one = find_or_build(write_source(), tmp_path / "one", print)
        other = find_or_build(write_source(), tmp_path / "somewhere" / "else", print)
        assert one.path != other.path and one.path.read_bytes() == other.path.read_bytes()
        assert one.sha256 == other.sha256

    @pytest.mark.parametrize("what", ["a source", "a header", "a flag", "the compiler", "the processor"])
    def test_whatever_decides_the_code_makes_another_build(self, write_source, cache, said, monkeypatch, what):
        find_or_build(write_source(), cache, print)
        changed = {}
        if what == "a source":
            changed = {"two_cpp": SOURCE["two.cpp"].replace("2 * x", "x + x")}
        elif what == "a header":
            changed = {"answer_h": SOURCE["answer.h"] + "\n"}
        elif what == "a flag":
            monkeypatch.setattr(build, "compile_flags", lambda chosen: (*compiler.compile_flags(chosen), "-DOTHER"))
        elif what == "the compiler":
            found = find_compiler(cache)
            monkeypatch.setattr(build, "find_compiler", lambda _: compiler.Compiler(found.command, "another 1.0"))
        else:
            monkeypatch.setattr(build, "processor_identity", lambda: "another")
        find_or_build(write_source(**changed), cache, said.append)
        assert said == [NOTICE] and len(entries(cache)) == 2

    def test_sums_are_not_reordered_and_nan_stays_nan(self, write_source, cache):
        code = f"""
            {EXPORT} float total(const float* x, int n) {{ float s = 0; for (int i = 0; i < n; i++) s += x[i]; return s; }}
            {EXPORT} int is_nan(float x) {{ return x != x; }}
        """
        functions = ctypes.CDLL(str(find_or_build(write_source(three_cpp=code), cache, print).path))
        functions.total.restype = ctypes.c_float
        functions.is_nan.argtypes = [ctypes.c_float]
        numbers = np.random.default_rng(1).normal(size=10_000).astype(np.float32) * np.float32(1e6)
        one_after_the_other = np.add.accumulate(numbers, dtype=np.float32)[-1]
        assert functions.total(numbers.ctypes.data_as(ctypes.c_void_p), len(numbers)) == one_after_the_other
        assert functions.is_nan(float("nan")) == 1

    def test_a_damaged_library_is_built_again(self, write_source, cache, said):
        made = find_or_build(write_source(), cache, print)
        content = made.path.read_bytes()
        made.path.write_bytes(content[: len(content) // 2])
        assert find_or_build(write_source(), cache, said.append) == made
        assert said == [NOTICE] and made.path.read_bytes() == content

    @pytest.mark.parametrize("record", ["", "[]", '{"format": 99}', '{"format": 1}', '{"format": 1, "sha256": "0"}'])
    def test_a_damaged_record_is_no_record(self, write_source, cache, said, record):
        made = find_or_build(write_source(), cache, print)
        (made.path.parent / "build.json").write_text(record)
        assert find_or_build(write_source(), cache, said.append) == made
        assert said == [NOTICE]


X86 = platform.machine().lower() in ("x86_64", "amd64")


@needs_compiler
class TestTarget:
    """Whether the library is for this processor, or for what the user has chosen."""

    def compiled_with(self, cache):
        return json.loads((entries(cache)[0] / "build.json").read_text())

    def on_another_target(self, chosen):
        return ["-march=x86-64-v2" if X86 else "-march=armv8-a", *chosen]

    @pytest.mark.parametrize("chosen", [[], ["-O1"]])
    def test_a_target_that_the_user_has_chosen_wins(self, write_source, cache, monkeypatch, chosen):
        words = self.on_another_target(chosen)
        monkeypatch.setenv("CXX", shlex.join([find_compiler(cache).command[0], *words]))
        has_avx2 = f"{EXPORT} int avx2() {{\n#ifdef __AVX2__\nreturn 1;\n#endif\nreturn 0;\n}}\n"
        functions = ctypes.CDLL(str(find_or_build(write_source(three_cpp=has_avx2), cache, print).path))
        assert functions.avx2() == 0
        assert not [flag for flag in self.compiled_with(cache)["flags"] if flag.startswith(("-march", "-mcpu"))]

    @pytest.mark.parametrize("chosen", ["-march=x86-64-v3", "-mcpu=neoverse-n1", "-march=native"])
    def test_ours_is_left_out_for_each_choice_of_a_target(self, chosen):
        assert not [flag for flag in compiler.compile_flags((chosen,)) if flag.startswith(("-march", "-mcpu"))]

    @pytest.mark.parametrize("chosen", ["-mno-avx512f", "-mtune=generic", "-O2"])
    def test_ours_stays_where_no_target_is_chosen(self, chosen):
        assert compiler.compile_flags((chosen,)) == compiler.compile_flags()

    @posix_only
    @pytest.mark.skipif(
        compiler.without_target(compiler.compile_flags()) == compiler.compile_flags(), reason="no target"
    )
    def test_a_compiler_that_refuses_the_target_builds_without_it_and_says_so(
        self, write_source, cache, said, stand_in
    ):
        refuse = 'case "$*" in *=native*) echo "error: unsupported argument native" >&2; exit 1;; esac\nexec $REAL "$@"'
        stand_in(refuse)
        made = find_or_build(write_source(), cache, said.append)
        assert ctypes.CDLL(str(made.path)).twice(21) == 42
        assert said[0] == NOTICE and len(said) == 2
        assert "is built without -m" in said[1] and "unsupported argument native" in said[1] and "\n" not in said[1]
        record = self.compiled_with(cache)
        assert "-O3" in record["flags"] and not [flag for flag in record["flags"] if flag.endswith("=native")]
        assert "unsupported argument native" in record["left_out"]
        log = (made.path.parent / "build.log").read_text()
        assert "=native" in log and "unsupported argument native" in log
        assert find_or_build(write_source(), cache, said.append) == made and len(said) == 2

    @pytest.mark.parametrize("command", [["g++", "-march=x86-64-v2"], ["ccache", "g++", "-O1"], ["g++"]])
    def test_a_compiler_s_name_is_its_program_s(self, command):
        assert compiler.Compiler(tuple(command), "1.0").name == "g++"


@needs_compiler
@posix_only
class TestPassingFailures:
    """What the machine was the cause of is tried again by the next start."""

    OUTPUTS = (
        "g++: fatal error: Killed signal terminated program cc1plus\ncompilation terminated.",
        "fatal error: error writing to /tmp/x.s: No space left on device",
        "/usr/bin/ld: final link failed: No space left on device",
        "virtual memory exhausted: Cannot allocate memory",
        "cc1plus: out of memory allocating 65536 bytes after a total of 12345 bytes",
        "LLVM ERROR: out of memory",
    )

    def fails_once_only(self, source, cache, stand_in, said, monkeypatch, script):
        """What the failure says; at the next try the compiler works."""
        stand_in(script)
        with pytest.raises(LabError) as caught:
            find_or_build(source, cache, said.append)
        assert entries(cache) == []
        monkeypatch.delenv("CXX")
        find_or_build(source, cache, said.append)
        assert said == [NOTICE] * 2 and "\n" not in str(caught.value)
        assert "the next start tries again" in str(caught.value)
        return str(caught.value)

    @pytest.mark.parametrize("output", OUTPUTS)
    def test_want_of_memory_or_disk(self, write_source, cache, said, stand_in, monkeypatch, output):
        found = self.fails_once_only(
            write_source(), cache, stand_in, said, monkeypatch, f"cat >&2 <<'END'\n{output}\nEND\nexit 1"
        )
        assert output.splitlines()[0][:100] in found

    @pytest.mark.parametrize("script", ["kill -9 $$", "exit 137"])
    def test_a_compiler_that_was_killed(self, write_source, cache, said, stand_in, monkeypatch, script):
        found = self.fails_once_only(write_source(), cache, stand_in, said, monkeypatch, script)
        assert "was ended by SIGKILL" in found

    def test_a_compiler_that_hangs(self, write_source, cache, said, stand_in, monkeypatch, tmp_path):
        monkeypatch.setattr(build, "COMPILE_SECONDS", 0.5)
        child = f"sh -c 'echo $$ > {tmp_path}/child; sleep 60 & wait' & wait"
        source, script = write_source(), child
        stand_in(script)
        began = time.monotonic()
        with pytest.raises(LabError, match=r"took longer than 0.5 s to compile it .*tries again") as caught:
            find_or_build(source, cache, said.append)
        assert time.monotonic() - began < 20 and "\n" not in str(caught.value)
        with pytest.raises(ProcessLookupError):
            while True:  # the system takes a moment to bury it
                os.kill(int((tmp_path / "child").read_text()), 0)
                assert time.monotonic() - began < 20
                time.sleep(0.02)
        assert entries(cache) == []

    @pytest.mark.parametrize("body", ["kill(getpid(), SIGKILL);", "sleep(60);"])
    def test_a_self_check_that_was_killed_or_hangs(self, write_source, cache, said, monkeypatch, body):
        monkeypatch.setattr(build, "CHECK_SECONDS", 2)
        one = SOURCE["one.cpp"].replace("return answer()", f'if (getenv("BROKEN")) {{ {body} }} return answer()')
        source = write_source(one_cpp="#include <csignal>\n#include <cstdlib>\n#include <unistd.h>\n" + one)
        monkeypatch.setenv("BROKEN", "1")
        with pytest.raises(LabError, match="self-check .*the next start tries again"):
            find_or_build(source, cache, said.append)
        monkeypatch.delenv("BROKEN")
        find_or_build(source, cache, said.append)
        assert said == [NOTICE] * 2


@needs_compiler
class TestFailures:
    def test_a_compile_error_is_one_line_with_the_rest_in_a_log(self, write_source, cache):
        source = write_source(
            two_cpp="int answer() {\n    return nothing_of_that_name;\n}\nint other() { return neither; }\n"
        )
        with pytest.raises(
            LabError, match=r"can't compile it: two\.cpp:2:\d+: error: .*nothing_of_that_name"
        ) as caught:
            find_or_build(source, cache, print)
        assert "\n" not in str(caught.value)
        log = entries(cache)[0] / "build.log"
        assert str(log) in str(caught.value) and "LMLAB_NATIVE=rebuild" in str(caught.value)
        assert "neither" in log.read_text() and "-O3" in log.read_text()

    def test_a_function_that_is_nowhere_is_told(self, write_source, cache):
        with pytest.raises(LabError, match="answer"):
            source = write_source(two_cpp="")
            find_or_build(source, cache, print)

    def test_a_failure_is_remembered(self, write_source, cache, said):
        for _ in range(2):
            with pytest.raises(LabError, match="can't compile it"):
                find_or_build(write_source(two_cpp="nonsense"), cache, said.append)
        assert said == [NOTICE]

    @pytest.mark.parametrize(
        "body, reason",
        [
            ("return 7;", r"its self-check failed \(7\)"),
            ("__builtin_trap();", "crashed in its self-check" if os.name == "posix" else "can't be loaded"),
        ],
    )
    def test_a_library_that_fails_its_check_is_not_used(self, write_source, cache, body, reason):
        one = SOURCE["one.cpp"].replace("return answer() - 42;", body)
        with pytest.raises(LabError, match=reason):
            find_or_build(write_source(one_cpp=one), cache, print)

    def test_a_library_of_another_format_is_not_used(self, write_source, cache):
        one = SOURCE["one.cpp"].replace(f"return {build.FORMAT};", "return 99;")
        with pytest.raises(LabError, match=f"has format 99: expected {build.FORMAT}"):
            find_or_build(write_source(one_cpp=one), cache, print)

    def test_a_rebuild_forgets_the_failure(self, write_source, cache, monkeypatch):
        one = "#include <cstdlib>\n" + SOURCE["one.cpp"].replace("return answer() - 42;", 'return !!getenv("BROKEN");')
        monkeypatch.setenv("BROKEN", "1")
        with pytest.raises(LabError, match="self-check failed"):
            find_or_build(write_source(one_cpp=one), cache, print)
        monkeypatch.delenv("BROKEN")
        with pytest.raises(LabError, match="self-check failed"):
            find_or_build(write_source(one_cpp=one), cache, print)
        made = find_or_build(write_source(one_cpp=one), cache, print, rebuild=True)
        assert find_or_build(write_source(one_cpp=one), cache, print) == made

    @pytest.mark.skipif(os.name == "nt" or not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root may write")
    def test_a_cache_that_cannot_be_written_is_a_reason(self, write_source, cache):
        cache.mkdir()
        cache.chmod(0o500)
        with pytest.raises(LabError, match="can't be built in"):
            find_or_build(write_source(), cache, print)

    def test_a_file_in_the_place_of_the_cache_is_a_reason(self, write_source, cache):
        cache.write_text("")
        with pytest.raises(LabError, match="can't be created"):
            find_or_build(write_source(), cache, print)

    def test_a_folder_without_source_is_a_reason(self, tmp_path, cache):
        with pytest.raises(LabError, match="isn't in this installation"):
            find_or_build(tmp_path, cache, print)

    @posix_only
    def test_a_killed_build_leaves_nothing_that_breaks_the_next(
        self, write_source, cache, tmp_path, stand_in, monkeypatch
    ):
        started = tmp_path / "started"
        stand_in(f"echo $$ > {started}.part; mv {started}.part {started}; exec sleep 60")
        code = "import sys; from pathlib import Path; from lmlab.native.build import find_or_build\n"
        code += "find_or_build(Path(sys.argv[1]), Path(sys.argv[2]), print)"
        victim = subprocess.Popen([sys.executable, "-c", code, write_source(), cache], cwd=ROOT, stdout=subprocess.PIPE)
        while not started.exists():
            assert victim.poll() is None
            time.sleep(0.01)
        victim.kill()
        victim.communicate()
        os.kill(int(started.read_text()), signal.SIGKILL)
        assert len(entries(cache)) == 1 and entries(cache)[0].name.startswith(".building-")
        monkeypatch.delenv("CXX")
        for path in (*entries(cache)[0].rglob("*"), entries(cache)[0]):
            os.utime(path, (1e9, 1e9))
        made = find_or_build(write_source(), cache, print)
        assert entries(cache) == [made.path.parent]


@needs_compiler
def test_two_processes_at_once_build_once(write_source, cache):
    code = "import sys; from pathlib import Path; from lmlab.native.build import find_or_build\n"
    code += "print(find_or_build(Path(sys.argv[1]), Path(sys.argv[2]), print).sha256)"
    command = [sys.executable, "-c", code, write_source(), cache]
    processes = [subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) for _ in range(3)]
    outputs = [process.communicate()[0].splitlines() for process in processes]
    assert [process.returncode for process in processes] == [0, 0, 0]
    assert len({lines[-1] for lines in outputs}) == 1
    assert sum(NOTICE in lines for lines in outputs) == 1


class TestCompiler:
    def test_none_is_a_reason_that_says_what_to_do(self, tmp_path, monkeypatch):
        monkeypatch.delenv("CXX", raising=False)
        monkeypatch.setenv("PATH", str(tmp_path))
        with pytest.raises(LabError, match="^there is no C.. compiler .*install one for up to 2x the speed on a CPU$"):
            find_compiler(tmp_path)

    def test_a_named_one_that_is_not_there_is_told_rather_than_passed_over(self, tmp_path, monkeypatch):
        monkeypatch.setenv("CXX", "no-such-compiler")
        with pytest.raises(LabError, match="CXX is no-such-compiler, which can't be run"):
            find_compiler(tmp_path)

    @pytest.mark.parametrize("name", ["cl", "cl.exe", "clang-cl"])
    def test_microsoft_s_is_refused_with_what_to_use(self, tmp_path, monkeypatch, name):
        monkeypatch.setenv("CXX", name)
        with pytest.raises(LabError, match="can't build it: set it to clang"):
            find_compiler(tmp_path)

    @posix_only
    @needs_compiler
    def test_one_that_does_not_run_is_passed_over(self, tmp_path, monkeypatch):
        monkeypatch.delenv("CXX", raising=False)
        real = find_compiler(tmp_path)
        for name, text in (("g++", "exit 1"), ("clang++", f'exec {real.command[0]} "$@"')):
            (tmp_path / name).write_text(f"#!/bin/sh\n{text}\n")
            (tmp_path / name).chmod(0o755)
        monkeypatch.setattr(compiler, "USUAL", ("g++", "clang++"))
        monkeypatch.setenv("PATH", str(tmp_path))
        found = find_compiler(tmp_path / "cache")
        assert found.name == "clang++" and found.version == real.version

    @posix_only
    def test_its_version_is_asked_once_until_it_changes(self, tmp_path, monkeypatch):
        path = tmp_path / "compiler"
        monkeypatch.setenv("CXX", f"{path} --some-flag")
        for version in ("one 1.0", "two 2.0.0"):
            path.write_text(f"#!/bin/sh\necho asked >> {tmp_path}/asked\necho '{version}'\n")
            path.chmod(0o755)
            for _ in range(2):
                found = find_compiler(tmp_path)
                assert (found.version, found.command) == (version, (str(path), "--some-flag"))
        assert (tmp_path / "asked").read_text().split() == ["asked"] * 2

    @pytest.mark.parametrize(
        "output, line",
        [
            (
                "In file included from a.cpp:1:\nb.h:7:5: error: 'x' was not declared\na.cpp:9: error: y",
                "b.h:7:5: error",
            ),
            ("a.cpp:3:10: fatal error: missing.h: No such file or directory", "a.cpp:3:10: fatal error"),
            (
                "/usr/bin/ld: a.o: in function `f':\na.cpp:(.text+0x5): undefined reference to `g()'",
                "a.cpp:(.text+0x5)",
            ),
            ("Killed\n", "Killed"),
            ("", "it printed no message"),
        ],
    )
    def test_the_line_that_says_what_is_wrong_is_found(self, output, line):
        assert build.first_error(output).startswith(line)


class TestProcessor:
    FIRST = "processor\t: 0\nmodel name\t: A CPU\nflags\t\t: fpu avx2 fma\ncpu MHz\t\t: 2400.1\nbogomips\t: 4800\n"

    def identity(self, tmp_path, text):
        (tmp_path / "cpuinfo").write_text(text)
        return linux_identity(tmp_path / "cpuinfo", tmp_path / "modalias")

    def test_its_clock_and_the_other_cores_do_not_count(self, tmp_path):
        one = self.identity(tmp_path, self.FIRST + "\nprocessor\t: 1\n")
        assert one == self.identity(tmp_path, self.FIRST.replace("2400.1", "900.0"))

    def test_model_and_instructions_count(self, tmp_path):
        texts = [self.FIRST, self.FIRST.replace("A CPU", "B CPU"), self.FIRST.replace("avx2", "avx2 avx512f"), ""]
        assert len({self.identity(tmp_path, text) for text in texts}) == 4
        assert linux_identity(tmp_path / "nothing", tmp_path / "modalias") == ""


class TestProcessorThatIsNotTold:
    MODALIAS = "cpu:type:x86,ven0002fam0019mod0011:feature:,0000,0001,00E0\n"

    @pytest.fixture
    def machine(self, tmp_path, monkeypatch):
        """machine(name, cpuinfo, modalias): the identity of a Linux machine that has these files, None for those it hides."""

        def identity(name, cpuinfo=None, modalias=None):
            for attribute, text in (("CPUINFO", cpuinfo), ("MODALIAS", modalias)):
                path = tmp_path / f"{name}-{attribute}"
                if text is not None:
                    path.write_text(text)
                monkeypatch.setattr(processor, attribute, path)
            monkeypatch.setattr(processor, "MACHINE_IDS", ())
            monkeypatch.setattr(processor.platform, "node", lambda: name)
            monkeypatch.setattr(processor.sys, "platform", "linux")
            return processor.processor_identity()

        return identity

    def test_machines_of_one_processor_share_however_they_are_called(self, machine):
        assert machine("one", TestProcessor.FIRST) == machine("other", TestProcessor.FIRST)
        assert machine("one", None, self.MODALIAS) == machine("other", None, self.MODALIAS)

    @pytest.mark.parametrize("cpuinfo", [None, "", "processor\t: 0\n", "processor\t: 0\nmodel name\t: A CPU\n"])
    def test_where_cpuinfo_is_silent_the_features_in_sysfs_count(self, machine, cpuinfo):
        found = machine("one", cpuinfo, self.MODALIAS)
        assert self.MODALIAS.strip() in found
        assert found != machine("one", cpuinfo, self.MODALIAS.replace("00E0", "00E1"))

    @pytest.mark.parametrize("cpuinfo", [None, "", "processor\t: 0\nmodel name\t: A CPU\n"])
    def test_machines_of_which_nothing_is_told_share_nothing(self, machine, cpuinfo):
        one, other = machine("one", cpuinfo), machine("other", cpuinfo)
        assert one != other and "one" in one
        assert one == machine("one", cpuinfo)

    def test_installations_of_one_name_share_nothing(self, machine, tmp_path, monkeypatch):
        found = []
        for text in ("0123", "4567"):
            path = tmp_path / f"id-{text}"
            path.write_text(f"{text}\n")
            machine("localhost")
            monkeypatch.setattr(processor, "MACHINE_IDS", (tmp_path / "none", path))
            found.append(processor.processor_identity())
        assert found[0] != found[1]


class TestLoading:
    @pytest.fixture(autouse=True)
    def own_cache(self, tmp_path, monkeypatch):
        monkeypatch.setenv("LMLAB_CACHE", str(tmp_path))
        monkeypatch.delenv("LMLAB_NATIVE", raising=False)

    @needs_compiler
    def test_it_is_built_once_and_kept_in_the_process(self, write_source, said, monkeypatch):
        monkeypatch.setattr(library, "SOURCE", write_source())
        loaded = library.load(said.append)
        assert isinstance(loaded, library.Library) and loaded.functions.twice(4) == 8
        assert library.load(said.append) is loaded and said == [NOTICE]
        assert loaded.build.sha256.startswith(loaded.identity)

    @needs_compiler
    def test_the_default_tells_standard_error_alone(self, write_source, monkeypatch, capsys):
        monkeypatch.setattr(library, "SOURCE", write_source())
        library.load()
        told = capsys.readouterr()
        assert told.err == f"{NOTICE}\n" and told.out == ""

    def test_no_compiler_is_no_error(self, tmp_path, monkeypatch, write_source):
        monkeypatch.setattr(library, "SOURCE", write_source())
        monkeypatch.setenv("PATH", str(tmp_path))
        monkeypatch.delenv("CXX", raising=False)
        assert library.load() == library.Missing(compiler.NO_COMPILER)

    def test_it_can_be_turned_off(self, monkeypatch):
        monkeypatch.setenv("LMLAB_NATIVE", "off")
        assert library.load() == library.Missing("LMLAB_NATIVE is off")

    def test_an_unknown_word_is_refused(self, monkeypatch):
        monkeypatch.setenv("LMLAB_NATIVE", "of")
        with pytest.raises(LabError, match="LMLAB_NATIVE is 'of': expected off, rebuild or nothing"):
            library.load()

    @needs_compiler
    def test_rebuild_builds_once_a_process(self, write_source, said, monkeypatch):
        monkeypatch.setattr(library, "SOURCE", write_source())
        find_or_build(library.SOURCE, library.cache_folder() / "native", print)
        monkeypatch.setenv("LMLAB_NATIVE", "rebuild")
        assert library.load(said.append) is library.load(said.append)
        assert said == [NOTICE]


def test_every_source_file_is_in_the_package():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    patterns = project["tool"]["setuptools"]["package-data"]["lmlab"]
    packed = {path for pattern in patterns for path in (ROOT / "lmlab").glob(pattern)}
    assert {path for path in library.SOURCE.rglob("*") if path.is_file()} <= packed
