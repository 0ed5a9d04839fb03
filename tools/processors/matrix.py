"""Which builds of the engine are tested: instruction sets, compilers and sanitizers, as far as this machine has them.

Everything here is a function of plain values: what the machine can execute, and which programs it has.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

X86, ARM = ("x86_64", "amd64"), ("arm64", "aarch64")
COMPILERS = ("g++", "clang++")
EMULATOR = ("qemu-aarch64", "-L", "/usr/aarch64-linux-gnu")
CROSS = {"g++": ("aarch64-linux-gnu-g++",), "clang++": ("clang++", "--target=aarch64-linux-gnu")}
PACKAGES = {
    "g++": "g++",
    "clang++": "clang",
    "aarch64-linux-gnu-g++": "g++-aarch64-linux-gnu",
    "qemu-aarch64": "qemu-user",
}
"""Debian's and Ubuntu's names, by program."""
OPTIMISED = ("-O3",)
CHECKED = ("-O1", "-g1", "-D_GLIBCXX_ASSERTIONS")
MEMORY = ("-fsanitize=address,undefined", "-fno-sanitize-recover=all")
# Clang takes minutes for this one check in unrolled tiles; g++ has it.
MEMORY_OF_CLANG = (*MEMORY, "-fno-sanitize=pointer-overflow")
THREADS = ("-fsanitize=thread",)


@dataclass(frozen=True)
class InstructionSet:
    """What code may use. `flag` tells the compiler; `registers` are the widest in the machine code, where that is known."""

    name: str
    flag: str
    registers: str = ""


@dataclass(frozen=True)
class Configuration:
    """One build of the engine and what runs on it: Python's tests, or the C++ driver."""

    compiler: tuple[str, ...]
    instructions: InstructionSet
    kind: str
    """`tests` (pytest), `driver`, or a sanitizer's name."""
    flags: tuple[str, ...] = ()
    """For the engine's sources in a driver, besides those of every build."""
    emulator: tuple[str, ...] = ()
    short: bool = False
    """Whether the driver leaves out repetitions with other numbers."""
    lacks: str = ""
    """Why it can't run here; empty where it can."""

    @property
    def name(self) -> str:
        """As in `g++ AVX2 tests`."""
        return f"{'clang++' if self.compiler[0] == 'clang++' else 'g++'} {self.instructions.name} {self.kind}"


def instruction_sets(machine: str, known: tuple[str, ...]) -> list[InstructionSet]:
    """Those that a machine can execute, the widest last; `known` are the processor's instructions that matter.

    The widest is compiled as users compile it, with all that the processor has and for its timings.
    """
    if machine.lower() in ARM:
        return [InstructionSet("NEON", "-mcpu=native")]
    if machine.lower() not in X86:
        return [InstructionSet("native", "-march=native")]
    sets = [InstructionSet("SSE", "-march=x86-64-v2", "xmm")]
    if "avx2" in known:
        sets.append(InstructionSet("AVX2", "-march=x86-64-v3", "ymm"))
    if "avx512f" in known:
        sets.append(InstructionSet("AVX-512", "-march=x86-64-v4", "zmm"))
    return [*sets[:-1], InstructionSet(sets[-1].name, "-march=native", sets[-1].registers)]


def next_lower(machine: str, known: tuple[str, ...]) -> InstructionSet | None:
    """The set below the machine's own; None where there is none."""
    return ([None, *instruction_sets(machine, known)])[-2]


def configurations(machine: str, known: tuple[str, ...], has: Callable[[str], bool]) -> list[Configuration]:
    """All that is to be tested on such a machine; `has(program)` tells what is installed."""
    sets = instruction_sets(machine, known)
    found = []
    for name in COMPILERS:
        lacks = _lacking(has, name)
        for one in sets:
            found.append(Configuration((name,), one, "driver", OPTIMISED, lacks=lacks))
            # g++ looks at every set's vectors, clang++ once at what g++ may have missed.
            if name == "g++" or one is sets[-1]:
                memory = MEMORY if name == "g++" else MEMORY_OF_CLANG
                found.append(Configuration((name,), one, "ASan+UBSan", (*CHECKED, *memory), lacks=lacks))
        # Which thread reads what doesn't depend on the width of its vectors.
        found.append(Configuration((name,), sets[-1], "TSan", (*CHECKED, *THREADS), short=True, lacks=lacks))
    if machine.lower() in X86:
        neon = InstructionSet("NEON", "-march=armv8-a")
        for name, command in CROSS.items():
            lacks = _lacking(has, command[0], "aarch64-linux-gnu-g++", EMULATOR[0])
            found.append(Configuration(command, neon, "driver", OPTIMISED, EMULATOR, True, lacks))
            if name == "g++":
                found.append(Configuration(command, neon, "ASan+UBSan", (*CHECKED, *MEMORY), EMULATOR, True, lacks))
    for name in COMPILERS:
        found += [Configuration((name,), one, "tests", lacks=_lacking(has, name)) for one in sets]
    missing = [one for one in ("AVX2", "AVX-512") if machine.lower() in X86 and one not in {own.name for own in sets}]
    for name in missing:
        for compiler in COMPILERS:
            found.append(
                Configuration((compiler,), InstructionSet(name, ""), "tests", lacks="this processor hasn't got it")
            )
    return found


def _lacking(has: Callable[[str], bool], *programs: str) -> str:
    missing = [program for program in dict.fromkeys(programs) if not has(program)]
    if not missing:
        return ""
    return f"no {' and '.join(missing)}: apt install {' '.join(PACKAGES[program] for program in missing)}"
