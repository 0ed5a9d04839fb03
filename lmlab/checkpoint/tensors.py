"""Reading and writing named tensors as safetensors files.

The writer is our own: it goes through a `Storage`, so that tests can make each write fail, hashes what it writes, and
copies no more than one tensor at a time. The reader is the safetensors library's, after our own validation of the header.
"""

import hashlib
from collections.abc import Mapping
from pathlib import Path

import torch
from jaxtyping import Shaped, UInt8
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from lmlab import LabError
from lmlab.checkpoint.hashed import FileFacts, HashedFile
from lmlab.checkpoint.header import Entry, lay_out, read_header
from lmlab.files import DISK, Storage

NamedTensors = Mapping[str, Shaped[Tensor, "..."]]

DTYPES = {
    torch.bool: "BOOL",
    torch.uint8: "U8",
    torch.int8: "I8",
    torch.float8_e4m3fn: "F8_E4M3",
    torch.float8_e5m2: "F8_E5M2",
    torch.uint16: "U16",
    torch.int16: "I16",
    torch.float16: "F16",
    torch.bfloat16: "BF16",
    torch.uint32: "U32",
    torch.int32: "I32",
    torch.float32: "F32",
    torch.uint64: "U64",
    torch.int64: "I64",
    torch.float64: "F64",
}


def file_bytes(tensors: NamedTensors) -> int:
    """Return the exact size in bytes of the file of these tensors."""
    header, entries = _plan(tensors)
    return len(header) + (entries[-1].end if entries else 0)


def write_tensors(path: Path, tensors: NamedTensors, storage: Storage = DISK) -> FileFacts:
    """Write tensors of any device, layout and shape to `path`, flush it, and return its SHA-256 and size.

    Raises LabError for a dtype that safetensors doesn't have, and OSError if the system refuses.
    """
    header, entries = _plan(tensors)
    with HashedFile(path, storage) as file:
        file.write(header)
        for entry in entries:
            file.write(_bytes_of(tensors[entry.name]).numpy().data)
    return file.facts


def file_sha256(tensors: NamedTensors) -> str:
    """Return the SHA-256 that the file of these tensors would have, without writing it."""
    header, entries = _plan(tensors)
    digest = hashlib.sha256(header)
    for entry in entries:
        digest.update(_bytes_of(tensors[entry.name]).numpy().data)
    return digest.hexdigest()


def read_tensors(path: Path) -> dict[str, Shaped[Tensor, "..."]]:
    """Return the tensors in a safetensors file, on the CPU; raises LabError in one line if it's missing or damaged."""
    read_header(path)
    try:
        return load_file(path)
    except (SafetensorError, OSError, ValueError, RuntimeError) as error:
        raise LabError(f"{path} can't be read: {str(error).splitlines()[0]}") from None


def _plan(tensors: NamedTensors) -> tuple[bytes, list[Entry]]:
    for name, tensor in tensors.items():
        if tensor.dtype not in DTYPES:
            known = ", ".join(str(dtype).removeprefix("torch.") for dtype in DTYPES)
            raise LabError(f"tensor {name} has the dtype {tensor.dtype}, which can't be saved: expected one of {known}")
    return lay_out((name, DTYPES[tensor.dtype], tuple(tensor.shape)) for name, tensor in tensors.items())


def _bytes_of(tensor: Shaped[Tensor, "..."]) -> UInt8[Tensor, "bytes"]:
    """Return the tensor's elements in row-major order as bytes, without a copy if it is contiguous in CPU memory."""
    return tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8)
