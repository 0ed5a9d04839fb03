"""Plain values in a pickle, read without executing anything of it.

A pickle is a program for a stack machine, one of whose instructions calls any function by name. `pickletools.genops` only
decodes the instructions. The machine here carries out those that make numbers, text, bytes, lists, tuples and dicts; it calls
none but the functions that its caller passes by name (`known`), and refuses every other name and instruction.

Its memory is bounded by the size of the pickle: no instruction that it knows makes more than its own bytes, and a value that is
used again is stored once. The keys of a dict are numbers and text, since the hash of nested tuples that share their parts can take
a time that is exponential in the pickle's size.
"""

from __future__ import annotations

import pickletools
import warnings
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from lmlab import LabError

LARGEST_BYTES = 64 << 20
"""Size limit of a pickle. That of a model of 100,000 tensors has 20 MiB; the tensors' elements are stored elsewhere."""
MOST_INSTRUCTIONS = 1 << 22
"""Limit of its instructions, about a hundred for each tensor."""
LONGEST_NAME = 80

CONSTANTS = {"NONE": None, "NEWTRUE": True, "NEWFALSE": False}
WITH_VALUE = {
    *("INT", "BININT", "BININT1", "BININT2", "LONG", "LONG1", "LONG4", "FLOAT", "BINFLOAT"),
    *("UNICODE", "BINUNICODE", "SHORT_BINUNICODE", "BINUNICODE8"),
    *("BINBYTES", "SHORT_BINBYTES", "BINBYTES8"),
}
"""Instructions that put the value that they contain on the stack."""
WITHOUT_EFFECT = {"PROTO", "FRAME"}
KEYS = (str, int, float, bytes, type(None))


class _Mark:
    """The place on the stack from which an instruction takes all values."""


class _Refused(Exception):
    """What is wrong with the pickle, without its file's name."""


def read_pickle(
    content: bytes,
    name: str,
    known: Mapping[str, Any] | None = None,
    stored: Callable[[Any], Any] | None = None,
) -> Any:
    """Return the value in a pickle of a file called `name`.

    `known` has what each "module.name" in the pickle stands for: a value, or a function, which is called with any number of any
    arguments and raises LabError for those that it doesn't accept. `stored` returns the value of a persistent id. LabError for a
    damaged or too large pickle, and for anything but such values in it.
    """
    if len(content) > LARGEST_BYTES:
        raise LabError(f"{name} has a pickle of {len(content):,} bytes: expected at most {LARGEST_BYTES:,}")
    try:
        with warnings.catch_warnings():
            # Decoding text of Python 2 warns of its escapes, also where it is refused.
            warnings.simplefilter("ignore", DeprecationWarning)
            return _Machine(known or {}, stored).run(content)
    except _Refused as error:
        raise LabError(f"{name} {error}") from None


class _Machine:
    def __init__(self, known: Mapping[str, Any], stored: Callable[[Any], Any] | None) -> None:
        self.known, self.stored = known, stored
        self.stack: list[Any] = []
        self.memo: dict[int, Any] = {}

    def run(self, content: bytes) -> Any:
        for number, (word, value) in enumerate(_instructions(content)):
            if number >= MOST_INSTRUCTIONS:
                raise _Refused(f"has a pickle of more than {MOST_INSTRUCTIONS:,} instructions: expected plain values")
            if word == "STOP":
                return self._one()
            self._step(word, value)
        raise _Refused("is damaged: its pickle has no end")

    def _step(self, word: str, value: Any) -> None:
        if word in WITH_VALUE:
            self.stack.append(value)
        elif word in CONSTANTS:
            self.stack.append(CONSTANTS[word])
        elif word in STEPS:
            STEPS[word](self, value)
        elif word not in WITHOUT_EFFECT:
            raise _Refused(
                f"has the instruction {word} in its pickle, which lmlab doesn't carry out: expected numbers, text, lists, tuples, "
                "dicts and tensors"
            )

    def _one(self) -> Any:
        if not self.stack or isinstance(self.stack[-1], _Mark):
            raise _Refused("is damaged: its pickle takes a value that isn't there")
        return self.stack.pop()

    def _top(self, kind: type) -> Any:
        """Return the value on the stack's top, which stays there and must be of that type."""
        if not self.stack or isinstance(self.stack[-1], _Mark) or not isinstance(self.stack[-1], kind):
            raise _Refused(f"is damaged: its pickle has no {kind.__name__} on its stack")
        return self.stack[-1]

    def _since_mark(self) -> list[Any]:
        for place in range(len(self.stack) - 1, -1, -1):
            if isinstance(self.stack[place], _Mark):
                found = self.stack[place + 1 :]
                del self.stack[place:]
                return found
        raise _Refused("is damaged: its pickle has no mark where one is needed")

    def _several(self, count: int) -> list[Any]:
        return [self._one() for _ in range(count)][::-1]

    def mark(self, value: Any) -> None:
        self.stack.append(_Mark())

    def pop(self, value: Any) -> None:
        if not self.stack:
            raise _Refused("is damaged: its pickle takes a value that isn't there")
        self.stack.pop()

    def pop_mark(self, value: Any) -> None:
        self._since_mark()

    def put(self, value: Any) -> None:
        self.memo[len(self.memo) if value is None else value] = self._top(object)

    def get(self, value: Any) -> None:
        if value not in self.memo:
            raise _Refused(f"is damaged: its pickle uses value {value}, which it hasn't stored")
        self.stack.append(self.memo[value])

    def dictionary(self, value: Any) -> None:
        items = self._since_mark()
        self.stack.append({})
        self._set(items)

    def set_items(self, value: Any) -> None:
        self._set(self._since_mark())

    def set_item(self, value: Any) -> None:
        self._set(self._several(2))

    def _set(self, items: list[Any]) -> None:
        target = self._top(dict)
        if len(items) % 2:
            raise _Refused("is damaged: its pickle has a key without a value")
        for key, entry in zip(items[::2], items[1::2], strict=True):
            if not isinstance(key, KEYS):
                raise _Refused(
                    f"has a dict with a key that is a {type(key).__name__}: expected numbers and text as keys"
                )
            target[key] = entry

    def append(self, value: Any) -> None:
        entry = self._one()
        self._top(list).append(entry)

    def extend(self, value: Any) -> None:
        entries = self._since_mark()
        self._top(list).extend(entries)

    def named(self, value: Any) -> None:
        self._name(*value.split(" ", 1))

    def named_on_stack(self, value: Any) -> None:
        self._name(*self._several(2))

    def _name(self, module: Any, name: Any) -> None:
        full = f"{module}.{name}" if isinstance(module, str) and isinstance(name, str) else "no name"
        if full not in self.known:
            raise _Refused(
                f"needs {full[:LONGEST_NAME]}, which lmlab doesn't run: expected tensors, numbers, text, lists, tuples and dicts; "
                "save a model's state_dict(), not the model itself"
            )
        self.stack.append(self.known[full])

    def call(self, value: Any) -> None:
        function, arguments = self._several(2)
        ours = callable(function) and any(function is one for one in self.known.values())
        if not ours or not isinstance(arguments, tuple):
            raise _Refused("calls something that is no function: expected tensors and containers")
        self.stack.append(function(*arguments))

    def build(self, value: Any) -> None:
        """Ignore the attributes of a dict, such as the versions of modules that PyTorch adds to its state_dict()."""
        attributes = self._one()
        if not isinstance(self._top(object), dict) or not isinstance(attributes, dict):
            raise _Refused("sets attributes of something that is no dict: expected tensors and containers")

    def persistent(self, value: Any) -> None:
        identity = self._one()
        if self.stored is None:
            raise _Refused("refers to values outside its pickle: expected plain values")
        self.stack.append(self.stored(identity))


STEPS: dict[str, Callable[[_Machine, Any], None]] = {
    "MARK": _Machine.mark,
    "POP": _Machine.pop,
    "POP_MARK": _Machine.pop_mark,
    "DUP": lambda machine, value: machine.stack.append(machine._top(object)),
    **dict.fromkeys(("PUT", "BINPUT", "LONG_BINPUT", "MEMOIZE"), _Machine.put),
    **dict.fromkeys(("GET", "BINGET", "LONG_BINGET"), _Machine.get),
    "EMPTY_LIST": lambda machine, value: machine.stack.append([]),
    "EMPTY_DICT": lambda machine, value: machine.stack.append({}),
    "EMPTY_TUPLE": lambda machine, value: machine.stack.append(()),
    "LIST": lambda machine, value: machine.stack.append(machine._since_mark()),
    "TUPLE": lambda machine, value: machine.stack.append(tuple(machine._since_mark())),
    "TUPLE1": lambda machine, value: machine.stack.append(tuple(machine._several(1))),
    "TUPLE2": lambda machine, value: machine.stack.append(tuple(machine._several(2))),
    "TUPLE3": lambda machine, value: machine.stack.append(tuple(machine._several(3))),
    "DICT": _Machine.dictionary,
    "SETITEM": _Machine.set_item,
    "SETITEMS": _Machine.set_items,
    "APPEND": _Machine.append,
    "APPENDS": _Machine.extend,
    "GLOBAL": _Machine.named,
    "STACK_GLOBAL": _Machine.named_on_stack,
    "REDUCE": _Machine.call,
    "BUILD": _Machine.build,
    "BINPERSID": _Machine.persistent,
}
"""Instructions that act on the stack, with what the instruction contains."""


def _instructions(content: bytes) -> Iterator[tuple[str, Any]]:
    try:
        for code, value, _ in pickletools.genops(content):
            yield code.name, value
    except (ValueError, IndexError, OverflowError, UnicodeError) as error:
        raise _Refused(f"is damaged: {str(error).splitlines()[0][:200] if str(error) else 'it ends early'}") from None


def write_pickle(value: Any) -> bytes:
    """Return numbers, text, and lists and dicts of them as a pickle of protocol 2, which every Python reads.

    ValueError for anything else, or an integer of more than 32 bits.
    """
    return b"\x80\x02" + _written(value) + b"."


def _written(value: Any) -> bytes:
    if value is None or isinstance(value, bool):
        return {None: b"N", True: b"\x88", False: b"\x89"}[value]
    if isinstance(value, int) and -(1 << 31) <= value < 1 << 31:
        return b"J" + value.to_bytes(4, "little", signed=True)
    if isinstance(value, str):
        text = value.encode("utf-8", errors="surrogatepass")
        return b"X" + len(text).to_bytes(4, "little") + text
    if isinstance(value, list):
        return b"](" + b"".join(map(_written, value)) + b"e"
    if isinstance(value, dict):
        return b"}(" + b"".join(_written(key) + _written(entry) for key, entry in value.items()) + b"u"
    raise ValueError(f"{type(value).__name__} is no value that write_pickle knows")
