"""Which builds of the engine `make test-processors` tests, and what it makes of their results."""

import pytest

from tools.processors.builds import Outcome, differing, telling
from tools.processors.matrix import configurations, instruction_sets, next_lower


def everything(program):
    return True


@pytest.mark.parametrize(
    "machine, known, names, lower",
    [
        ("x86_64", ("avx2", "avx512f"), ["SSE", "AVX2", "AVX-512"], "-march=x86-64-v3"),
        ("AMD64", ("avx2",), ["SSE", "AVX2"], "-march=x86-64-v2"),
        ("x86_64", (), ["SSE"], None),
        ("arm64", ("asimd",), ["NEON"], None),
        ("riscv64", (), ["native"], None),
    ],
)
def test_a_machine_tests_what_it_can_execute_the_widest_as_users_compile_it(machine, known, names, lower):
    sets = instruction_sets(machine, known)
    assert [one.name for one in sets] == names
    assert sets[-1].flag in ("-march=native", "-mcpu=native")
    below = next_lower(machine, known)
    assert (below and below.flag) == lower


@pytest.mark.parametrize("machine, known", [("x86_64", ("avx2", "avx512f")), ("arm64", ("asimd",))])
def test_each_set_and_compiler_has_its_tests_and_every_sanitizer_meets_each_compiler(machine, known):
    names = [one.name for one in configurations(machine, known, everything)]
    assert len(names) == len(set(names))
    for compiler in ("g++", "clang++"):
        for one in instruction_sets(machine, known):
            assert {f"{compiler} {one.name} tests", f"{compiler} {one.name} driver"} <= set(names)
        for sanitizer in ("ASan+UBSan", "TSan"):
            assert any(name.startswith(compiler) and name.endswith(sanitizer) for name in names)
        assert f"{compiler} NEON driver" in names


def test_what_can_not_run_says_what_to_install_or_that_the_processor_lacks_it():
    lacking = {
        one.name: one.lacks
        for one in configurations("x86_64", ("avx2",), lambda program: program == "g++")
        if one.lacks
    }
    assert lacking["clang++ SSE driver"] == "no clang++: apt install clang"
    assert "apt install g++-aarch64-linux-gnu qemu-user" in lacking["g++ NEON driver"]
    assert lacking["g++ AVX-512 tests"] == "this processor hasn't got it"
    assert "g++ AVX2 tests" not in lacking


def test_a_build_whose_results_are_others_or_missing_is_told_by_name():
    reference = Outcome("first", digest={"loss": 1.0, "norm": 2.0, "zero": 0.0})
    assert differing(Outcome("same", digest={"loss": 1.0004, "norm": 2.0, "zero": 0.0}), reference, 1e-3) == []
    found = differing(Outcome("other", digest={"loss": 1.01, "norm": float("nan"), "new": 1.0}), reference, 1e-3)
    assert [line.partition(":")[0] for line in found] == ["loss", "new", "norm", "zero"]


def test_a_failure_shows_broken_promises_or_the_head_of_a_sanitizer_s_report():
    frames = [f"#{number} frame" for number in range(90)]
    assert telling("\n".join(["digest 1 a", "FAILED a: b", "checks 2"])) == ["FAILED a: b"]
    assert telling("\n".join(["fine", "==1==ERROR: AddressSanitizer: stack", *frames]))[0].endswith(
        "AddressSanitizer: stack"
    )
    assert telling("\n".join(frames))[-1] == "#89 frame"
