"""The tensors in a file that `torch.save` wrote, without unpickling it: `.pt`, `.pth` and `.bin` of PyTorch 1.6 and newer.

    NAME/data.pkl      a pickle of the saved value, in which each tensor names a storage, an offset, a size and strides
    NAME/data/0, ...   the storages: elements without a header, uncompressed
    NAME/byteorder     little or big; missing in older files, which are as the machine was

(pytorch/docs/source/notes/serialization.rst.) The file is mapped into memory, not read: a tensor is a view of its storage there,
and tensors that shared a storage share it again.
"""

import io
import math
import mmap
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Shaped
from torch import Tensor

from lmlab import LabError
from lmlab.exchange.models.pickled import LARGEST_BYTES, read_pickle
from lmlab.files import reason

STORAGES = {
    "DoubleStorage": torch.float64,
    "FloatStorage": torch.float32,
    "HalfStorage": torch.float16,
    "BFloat16Storage": torch.bfloat16,
    "LongStorage": torch.int64,
    "IntStorage": torch.int32,
    "ShortStorage": torch.int16,
    "CharStorage": torch.int8,
    "ByteStorage": torch.uint8,
    "BoolStorage": torch.bool,
    "ComplexDoubleStorage": torch.complex128,
    "ComplexFloatStorage": torch.complex64,
}
"""Name in `torch` -> the dtype of its elements."""
DTYPES = ("uint16", "uint32", "uint64", "float8_e4m3fn", "float8_e5m2", "float8_e4m3fnuz", "float8_e5m2fnuz")
"""Those without a storage class of their own: their tensors name the dtype, and a storage of bytes."""
MOST_DIMENSIONS = 64
MOST_ENTRIES = 1 << 20
LOCAL_HEADER_BYTES = 30
LARGEST_SIZE = 1 << 62
LARGEST_NOTE_BYTES = 64
"""Size limit of NAME/byteorder."""


@dataclass(frozen=True)
class _StorageClass:
    """A class of storages named in the pickle; without a dtype one of bytes."""

    dtype: torch.dtype | None


@dataclass(frozen=True)
class _Storage:
    content: Tensor
    """uint8 [bytes]."""
    dtype: torch.dtype | None


def read_torch_file(path: Path) -> Any:
    """Return the value that `torch.save` wrote to `path`, with tensors on the CPU that share memory with the file's mapping.

    LabError, in one line, for a file of another form, a damaged one, and one that contains anything but tensors, numbers, text,
    lists, tuples and dicts. Nothing in it is executed, and it takes no more memory than its tensors have bytes in the file.
    """
    try:
        with open(path, "rb") as file:
            start = file.read(4)
            if start[:2] != b"PK":
                raise LabError(f"{path.name} {_other_form(start)}")
            archive = _Archive.opened(path.name, file)
    except OSError as error:
        raise LabError(f"{path.name} can't be read: {reason(error)}") from None
    order = bytes(archive.entry("byteorder", LARGEST_NOTE_BYTES)) if archive.has("byteorder") else b"little"
    if order != b"little":
        raise LabError(
            f"{path.name} has its numbers in big-endian byte order: load and save it again on a little-endian machine"
        )
    content = bytes(archive.entry("data.pkl", LARGEST_BYTES))
    return read_pickle(content, path.name, _known(path.name), archive.stored)


def _other_form(start: bytes) -> str:
    if start[:1] == b"\x80":
        return (
            "is a pickle or PyTorch's format from before version 1.6: expected that of a newer one; load it with torch.load and "
            "save it again"
        )
    return "was not written by torch.save: expected a zip archive with tensors"


@dataclass
class _Archive:
    """The entries of the zip archive, by name, as bytes of the file."""

    name: str
    content: mmap.mmap
    entries: Mapping[str, zipfile.ZipInfo]
    folder: str
    """The folder in it that holds everything."""
    storages: dict[str, Tensor] = field(default_factory=dict)

    @classmethod
    def opened(cls, name: str, file: io.BufferedReader) -> "_Archive":
        try:
            with zipfile.ZipFile(file) as archive:
                listed = archive.infolist()
            # Writable as PyTorch wants it, but the changes are this process's own.
            content = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_COPY)
        except (zipfile.BadZipFile, NotImplementedError, ValueError, EOFError, UnicodeError) as error:
            raise LabError(f"{name} is damaged or cut off: {str(error) or 'it ends early'}") from None
        entries = {entry.filename: entry for entry in listed}
        if len(entries) < len(listed) or len(entries) > MOST_ENTRIES:
            raise LabError(f"{name} is damaged: it has several entries of one name, or more than {MOST_ENTRIES:,}")
        packed = next((entry for entry in listed if entry.compress_type != zipfile.ZIP_STORED), None)
        if packed is not None:
            raise LabError(f"{name} has compressed entries: expected a file as torch.save writes it")
        if sum(entry.file_size for entry in listed) > len(content):
            raise LabError(f"{name} is damaged: its entries have more bytes than the file")
        found = [one.removesuffix("/data.pkl") for one in entries if one.endswith("/data.pkl")]
        scripted = any(one.endswith("/constants.pkl") for one in entries)
        if scripted or len(found) != 1:
            what = "is a TorchScript program" if scripted else "is a zip archive, but not one that torch.save wrote"
            raise LabError(f"{name} {what}: expected a file with a model's state_dict()")
        return cls(name, content, entries, found[0])

    def has(self, name: str) -> bool:
        return f"{self.folder}/{name}" in self.entries

    def entry(self, name: str, most_bytes: int | None = None) -> memoryview:
        """Return an entry's bytes; LabError unless they are in the file, and at most `most_bytes`."""
        entry = self.entries.get(f"{self.folder}/{name}")
        if entry is None:
            raise LabError(f"{self.name} is damaged: it has no {name[:60]}")
        if most_bytes is not None and entry.file_size > most_bytes:
            raise LabError(f"{self.name} has {entry.file_size:,} bytes in {name}: expected at most {most_bytes:,}")
        begin = entry.header_offset
        header = self.content[begin : begin + LOCAL_HEADER_BYTES]
        if len(header) < LOCAL_HEADER_BYTES or header[:4] != b"PK\x03\x04":
            raise LabError(f"{self.name} is damaged: {name[:60]} has no header")
        lengths = (int.from_bytes(header[at : at + 2], "little") for at in (26, 28))
        begin += LOCAL_HEADER_BYTES + sum(lengths)
        if begin + entry.file_size > len(self.content):
            raise LabError(f"{self.name} is cut off: {name[:60]} ends after the file's end")
        return memoryview(self.content)[begin : begin + entry.file_size]

    def stored(self, identity: Any) -> _Storage:
        """Return the storage of a persistent id: ("storage", class, key, device, elements)."""
        facts: tuple[Any, ...] = identity if isinstance(identity, tuple) and len(identity) == 5 else (None,) * 5
        what, kind, key, _, elements = facts
        if (
            what != "storage"
            or not isinstance(kind, _StorageClass)
            or not isinstance(key, str)
            or not _is_size(elements)
        ):
            raise LabError(f"{self.name} is damaged: it refers to something that is no storage")
        if key not in self.storages:
            content = self.entry(f"data/{key}")
            self.storages[key] = (
                torch.frombuffer(content, dtype=torch.uint8) if len(content) else torch.empty(0, dtype=torch.uint8)
            )
        storage = self.storages[key]
        if elements * (1 if kind.dtype is None else kind.dtype.itemsize) != len(storage):
            raise LabError(
                f"{self.name} is damaged: storage {key[:60]} should have {elements:,} elements, but has {len(storage):,} bytes"
            )
        return _Storage(storage, kind.dtype)


def _known(name: str) -> dict[str, Any]:
    """Return what the names in a pickle of tensors stand for; errors begin with the file's `name`."""

    def tensor(*facts: Any) -> Tensor:
        """_rebuild_tensor_v2(storage, offset, size, stride, requires_grad, hooks, metadata)."""
        if len(facts) not in (6, 7):
            raise LabError(f"{name} is damaged: it has a tensor of {len(facts)} facts")
        storage = facts[0]
        return _view(name, storage, getattr(storage, "dtype", None), *facts[1:4])

    def tensor_of_dtype(*facts: Any) -> Tensor:
        """_rebuild_tensor_v3(storage, offset, size, stride, requires_grad, hooks, dtype, metadata)."""
        if len(facts) not in (7, 8):
            raise LabError(f"{name} is damaged: it has a tensor of {len(facts)} facts")
        return _view(name, facts[0], facts[6], *facts[1:4])

    def parameter(*facts: Any) -> Tensor:
        """_rebuild_parameter(tensor, requires_grad, hooks)."""
        if len(facts) != 3 or not isinstance(facts[0], Tensor):
            raise LabError(f"{name} is damaged: it has a parameter that is no tensor")
        return facts[0]

    def ordered(*facts: Any) -> dict[Any, Any]:
        """OrderedDict()."""
        if facts:
            raise LabError(f"{name} has an OrderedDict of a form that isn't read: expected one as Python 3 saves it")
        return {}

    return {
        "torch._utils._rebuild_tensor_v2": tensor,
        "torch._utils._rebuild_tensor_v3": tensor_of_dtype,
        "torch._utils._rebuild_parameter": parameter,
        "collections.OrderedDict": ordered,
        "torch.storage.UntypedStorage": _StorageClass(None),
        **{f"torch.{one}": _StorageClass(dtype) for one, dtype in STORAGES.items()},
        **{f"torch.{one}": getattr(torch, one) for one in DTYPES},
    }


def _view(name: str, storage: Any, dtype: Any, offset: Any, size: Any, stride: Any) -> Shaped[Tensor, "..."]:
    """Return a tensor of these sizes and strides, in elements, after checking that all of it is in the storage."""
    if not isinstance(storage, _Storage) or not isinstance(dtype, torch.dtype):
        raise LabError(f"{name} is damaged: it has a tensor without a storage or a dtype")
    sizes = isinstance(size, tuple) and isinstance(stride, tuple) and len(size) == len(stride) <= MOST_DIMENSIONS
    if not sizes or not all(map(_is_size, (offset, *size, *stride))):
        raise LabError(f"{name} is damaged: it has a tensor with an impossible size, stride or offset")
    elements = math.prod(size)
    last = offset + sum((length - 1) * step for length, step in zip(size, stride, strict=True)) if elements else offset
    there = len(storage.content) // dtype.itemsize
    if last >= there + (elements == 0) or elements > there:
        raise LabError(
            f"{name} is damaged: it has a tensor of {elements:,} elements at {offset:,} to {last:,} of a storage of {there:,}"
        )
    whole = storage.content[: there * dtype.itemsize].view(dtype)
    return whole.as_strided(size, stride, offset)


def _is_size(value: Any) -> bool:
    return type(value) is int and 0 <= value < LARGEST_SIZE
