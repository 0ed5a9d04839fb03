"""Tensors written by us are read back, bit for bit, by the safetensors library."""

import hashlib
import json

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors import safe_open
from safetensors.torch import load_file

from lmlab import LabError
from lmlab.checkpoint.header import read_header
from lmlab.checkpoint.tensors import DTYPES, file_bytes, read_tensors, write_tensors

SHAPES = [(), (0,), (1,), (7,), (3, 5), (2, 0, 4), (2, 3, 4)]


def random_bits(dtype, shape):
    """Any bits that the dtype can have, NaNs with payloads and subnormal numbers among them."""
    count = torch.Size(shape).numel()
    if dtype == torch.bool:
        return torch.randint(0, 2, shape, dtype=torch.bool)
    size = torch.empty(0, dtype=dtype).element_size()
    return torch.randint(0, 256, (count * size,), dtype=torch.uint8).view(dtype).reshape(shape)


def bits(tensor):
    return tensor.contiguous().reshape(-1).view(torch.uint8)


def assert_same_bits(found, expected):
    assert found.keys() == expected.keys()
    for name, tensor in expected.items():
        assert found[name].dtype == tensor.dtype and found[name].shape == tensor.shape, name
        assert torch.equal(bits(found[name]), bits(tensor)), name


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_every_dtype_and_shape_is_read_back_bit_for_bit_by_the_library(tmp_path, dtype):
    torch.manual_seed(1)
    tensors = {f"shape {shape}": random_bits(dtype, shape) for shape in SHAPES}
    facts = write_tensors(tmp_path / "one.safetensors", tensors)
    assert_same_bits(load_file(tmp_path / "one.safetensors"), tensors)
    assert_same_bits(read_tensors(tmp_path / "one.safetensors"), tensors)
    content = (tmp_path / "one.safetensors").read_bytes()
    assert (facts.sha256, facts.bytes) == (hashlib.sha256(content).hexdigest(), len(content))


def test_views_transposes_parameters_and_shared_storage_are_written_as_their_values(tmp_path):
    whole = torch.arange(24.0).reshape(4, 6)
    tensors = {
        "transposed": whole.t(),
        "strided": whole[::2, 1::3],
        "row": whole[1],
        "expanded": torch.tensor([1.5]).expand(5),
        "parameter": torch.nn.Parameter(torch.ones(3)),
        "shared": whole,
        "shared too": whole,
    }
    write_tensors(tmp_path / "views.safetensors", tensors)
    assert_same_bits(
        load_file(tmp_path / "views.safetensors"), {name: tensor.detach() for name, tensor in tensors.items()}
    )


@given(
    st.dictionaries(
        st.text(min_size=1).filter(lambda name: name != "__metadata__"), st.sampled_from(list(DTYPES)), max_size=6
    )
)
def test_any_names_and_mixture_of_dtypes_fill_the_file_without_gaps_and_aligned(tmp_path_factory, names):
    path = tmp_path_factory.getbasetemp() / "mixture.safetensors"
    tensors = {name: random_bits(dtype, (3,)) for name, dtype in names.items() if name.isprintable()}
    path.unlink(missing_ok=True)
    assert write_tensors(path, tensors).bytes == file_bytes(tensors) == path.stat().st_size
    assert_same_bits(load_file(path), tensors)
    for entry in read_header(path):
        assert entry.begin % tensors[entry.name].element_size() == 0
        assert entry.end - entry.begin == 3 * tensors[entry.name].element_size()


def test_no_tensors_at_all_is_a_file_too(tmp_path):
    write_tensors(tmp_path / "none.safetensors", {})
    assert load_file(tmp_path / "none.safetensors") == {} == read_tensors(tmp_path / "none.safetensors")


def test_the_data_begins_on_8_bytes_and_the_file_says_that_it_is_pytorch_s(tmp_path):
    write_tensors(tmp_path / "one.safetensors", {"x": torch.zeros(1)})
    content = (tmp_path / "one.safetensors").read_bytes()
    assert int.from_bytes(content[:8], "little") % 8 == 0
    with safe_open(tmp_path / "one.safetensors", "pt") as file:
        assert file.metadata() == {"format": "pt"}
    assert json.loads(content[8:-4])["x"] == {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]}


def test_writing_makes_no_copy_of_a_tensor_that_lies_in_order(tmp_path, disk):
    tensor = torch.zeros(1 << 12)
    seen = []

    class Watching(disk.Faulty):
        def write(self, file, content):
            seen.append(torch.frombuffer(content, dtype=torch.uint8).data_ptr() if len(content) == 1 << 14 else None)
            super().write(file, content)

    write_tensors(tmp_path / "one.safetensors", {"x": tensor}, Watching())
    assert tensor.data_ptr() in seen


def test_a_dtype_that_the_format_lacks_is_refused_in_one_line(tmp_path):
    with pytest.raises(LabError, match="x has the dtype torch.complex64") as caught:
        write_tensors(tmp_path / "one.safetensors", {"x": torch.zeros(2, dtype=torch.complex64)})
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "one.safetensors").exists()


@pytest.mark.gpu
def test_tensors_of_a_gpu_are_written_as_their_values(tmp_path):
    tensors = {
        "x": torch.arange(6.0, device="cuda").reshape(2, 3).t(),
        "y": torch.ones(3, device="cuda", dtype=torch.bfloat16),
    }
    write_tensors(tmp_path / "one.safetensors", tensors)
    assert_same_bits(
        read_tensors(tmp_path / "one.safetensors"), {name: tensor.cpu() for name, tensor in tensors.items()}
    )
