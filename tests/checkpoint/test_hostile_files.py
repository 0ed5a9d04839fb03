"""Files from untrusted sources are refused in one line, before anything is allocated for them."""

import json
import os
import re
import tracemalloc

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from lmlab import LabError
from lmlab.checkpoint.finding import find
from lmlab.checkpoint.opened import open_checkpoint
from lmlab.checkpoint.pointers import pointed
from lmlab.checkpoint.tensors import read_tensors, write_tensors

F32 = {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]}


def file_with(path, header, data=b"\0" * 8, length=None):
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    path.write_bytes((len(text) if length is None else length).to_bytes(8, "little") + text + data)
    return path


def assert_refused(path, words):
    tracemalloc.start()
    try:
        with pytest.raises(LabError, match=words) as caught:
            read_tensors(path)
        assert tracemalloc.get_traced_memory()[1] < 4_000_000
    finally:
        tracemalloc.stop()
    assert "\n" not in str(caught.value) and path.name in str(caught.value)


HOSTILE = {
    "an offset outside": {"x": {**F32, "data_offsets": [0, 1 << 60], "shape": [1 << 58]}},
    "offsets the wrong way round": {"x": {**F32, "data_offsets": [8, 0]}},
    "a negative offset": {"x": {**F32, "data_offsets": [-8, 0]}},
    "offsets that are no numbers": {"x": {**F32, "data_offsets": ["0", "8"]}},
    "one offset": {"x": {**F32, "data_offsets": [8]}},
    "a shape that doesn't fill its bytes": {"x": {**F32, "shape": [3]}},
    "a shape whose product overflows 64 bits to the right size": {"x": {**F32, "shape": [1 << 32, 1 << 32, 2]}},
    "a huge dimension beside none": {"x": {**F32, "shape": [0, 1 << 63]}},
    "a negative dimension": {"x": {**F32, "shape": [-1, -2]}},
    "a dimension that is true": {"x": {**F32, "shape": [True, 2]}},
    "a dimension that is a fraction": {"x": {**F32, "shape": [2.0]}},
    "a thousand dimensions": {"x": {**F32, "shape": [2] + [1] * 1000}},
    "an unknown dtype": {"x": {**F32, "dtype": "F4"}},
    "a dtype that is a list": {"x": {**F32, "dtype": ["F32"]}},
    "something more": {"x": {**F32, "code": "print()"}},
    "no dtype": {"x": {"shape": [2], "data_offsets": [0, 8]}},
    "tensors that overlap": {"x": F32, "y": F32},
    "a gap": {
        "x": {"dtype": "U8", "shape": [3], "data_offsets": [0, 3]},
        "y": {"dtype": "U8", "shape": [4], "data_offsets": [4, 8]},
    },
    "bytes that no tensor has": {"x": {"dtype": "U8", "shape": [3], "data_offsets": [0, 3]}},
    "a list": [1, 2, 3],
    "a number": 7,
    "a name twice": f'{{"x": {json.dumps(F32)}, "x": {json.dumps(F32)}}}'.encode(),
    "text that is no JSON": b"{'x': 1}",
    "bytes that are no UTF-8": b'{"\xff": 1}',
    "JSON nested too deep": b"[" * 100_000,
    "a number of too many digits": b"9" * 10_000,
    "nothing": b"",
}

HEADERS_SAID = {
    "an offset outside": "its tensors end at byte 1,152,921,504,606,846,976, its data at 8",
    "offsets the wrong way round": "does not fill the bytes from 8 to 0",
    "a negative offset": "tensor 'x' has no two offsets",
    "offsets that are no numbers": "tensor 'x' has no two offsets",
    "one offset": "tensor 'x' has no two offsets",
    "a shape that doesn't fill its bytes": "'x' of shape [3] does not fill the bytes from 0 to 8",
    "a shape whose product overflows 64 bits to the right size": "[4294967296, 4294967296, 2] does not fill the bytes",
    "a huge dimension beside none": "tensor 'x' has no shape that a tensor can have",
    "a negative dimension": "tensor 'x' has no shape that a tensor can have",
    "a dimension that is true": "tensor 'x' has no shape that a tensor can have",
    "a dimension that is a fraction": "tensor 'x' has no shape that a tensor can have",
    "a thousand dimensions": "tensor 'x' has no shape that a tensor can have",
    "an unknown dtype": "tensor 'x' has the dtype 'F4', expected one of BOOL",
    "a dtype that is a list": "has the dtype \"['F32']\", expected one of BOOL",
    "something more": "tensor 'x' needs dtype, shape and data_offsets",
    "no dtype": "tensor 'x' needs dtype, shape and data_offsets",
    "tensors that overlap": "tensor 'y' begins at byte 0, expected 8",
    "a gap": "tensor 'y' begins at byte 4, expected 3",
    "bytes that no tensor has": "its tensors end at byte 3, its data at 8",
    "a list": "its header is not a JSON object",
    "a number": "its header is not a JSON object",
    "a name twice": "not JSON (a name is repeated)",
    "text that is no JSON": "not JSON (Expecting property name",
    "bytes that are no UTF-8": "not JSON ('utf-8' codec can't decode byte 0xff",
    "JSON nested too deep": "not JSON (it is nested too deeply)",
    "a number of too many digits": "not JSON (a whole number has 10,000 digits)",
    "nothing": "not JSON (Expecting value: line 1 column 1",
}
"""The expected part of the error message."""


@pytest.mark.parametrize("kind", HOSTILE)
def test_a_hostile_header_is_refused_in_one_line(tmp_path, kind):
    assert_refused(file_with(tmp_path / "bad.safetensors", HOSTILE[kind]), re.escape(HEADERS_SAID[kind]))


@pytest.mark.parametrize("length", [9, 1 << 20, 1 << 40, (1 << 64) - 1])
def test_a_header_longer_than_the_file_is_refused(tmp_path, length):
    assert_refused(file_with(tmp_path / "bad.safetensors", b"{}", b"", length=length), "header would have")


def test_an_absurdly_long_header_is_refused_without_reading_it(tmp_path):
    path = tmp_path / "bad.safetensors"
    with open(path, "wb") as file:
        file.write((1 << 30).to_bytes(8, "little"))
        file.truncate(8 + (1 << 30))  # sparse: takes no disk
    assert_refused(path, "expected at most")


def test_a_file_cut_off_anywhere_is_refused(tmp_path):
    path = tmp_path / "cut.safetensors"
    write_tensors(path, {"x": torch.arange(4.0), "y": torch.zeros(2, dtype=torch.int8)})
    content = path.read_bytes()
    for length in range(len(content)):
        path.write_bytes(content[:length])
        with pytest.raises(LabError, match="cut.safetensors is damaged: .*, (the file has|its data at) "):
            read_tensors(path)
    path.write_bytes(content + b"\0")
    assert_refused(path, "tensors end")


@given(st.data())
def test_a_file_with_any_bytes_changed_is_read_or_refused_but_never_worse(tmp_path_factory, data):
    path = tmp_path_factory.getbasetemp() / "changed.safetensors"
    path.unlink(missing_ok=True)
    write_tensors(path, {"x": torch.arange(4.0), "name": torch.zeros(2, dtype=torch.int8)})
    content = bytearray(path.read_bytes())
    for _ in range(data.draw(st.integers(1, 3))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    path.write_bytes(bytes(content))
    try:
        found = read_tensors(path)
    except LabError as error:
        assert re.search(r"changed\.safetensors (is damaged|can't be read): ", str(error)) and "\n" not in str(error)
    else:
        assert sum(tensor.numel() * tensor.element_size() for tensor in found.values()) == 18


def test_a_missing_file_a_folder_and_a_pipe_are_refused(tmp_path):
    (tmp_path / "folder.safetensors").mkdir()
    for name in ("missing.safetensors", "folder.safetensors"):
        assert_refused(tmp_path / name, "missing")
    if hasattr(os, "mkfifo"):
        os.mkfifo(tmp_path / "pipe.safetensors")
        assert_refused(tmp_path / "pipe.safetensors", "missing")


BAD_MANIFESTS = {
    "a file above": lambda value: value["files"].update({"../secret": {"sha256": "0" * 64, "bytes": 1}}),
    "an absolute path": lambda value: value["files"].update({"/etc/passwd": {"sha256": "0" * 64, "bytes": 1}}),
    "a Windows path": lambda value: value["files"].update({"C:\\x": {"sha256": "0" * 64, "bytes": 1}}),
    "the folder itself": lambda value: value["files"].update({"..": {"sha256": "0" * 64, "bytes": 1}}),
    "an empty name": lambda value: value["files"].update({"": {"sha256": "0" * 64, "bytes": 1}}),
    "a hash that is none": lambda value: value["files"]["state.json"].update(sha256="x" * 64),
    "a size below zero": lambda value: value["files"]["state.json"].update(bytes=-1),
    "a size that is text": lambda value: value["files"]["state.json"].update(bytes="12"),
    "no state": lambda value: value["files"].pop("state.json"),
    "files as a list": lambda value: value.update(files=[]),
    "another step": lambda value: value.update(step=251),
    "another format": lambda value: value.update(format=2),
    "no format": lambda value: value.pop("format"),
}

MANIFESTS_SAID = {
    "a file above": "'../secret' is not the name of a file in its folder",
    "an absolute path": "'/etc/passwd' is not the name of a file in its folder",
    "a Windows path": "is not the name of a file in its folder",
    "the folder itself": "'..' is not the name of a file in its folder",
    "an empty name": "'' is not the name of a file in its folder",
    "a hash that is none": "state.json needs sha256 and bytes",
    "a size below zero": "state.json needs sha256 and bytes",
    "a size that is text": "state.json needs sha256 and bytes",
    "no state": "it lists no state.json",
    "files as a list": "expected a checkpoint's manifest",
    "another step": "it is of step 251, its folder of step 250",
    "another format": "has format 2: this version reads 1",
    "no format": "has format None: this version reads 1",
}
"""The expected part of the error message."""


@pytest.mark.parametrize("kind", BAD_MANIFESTS)
def test_a_hostile_manifest_is_refused_in_one_line(tmp_path, save_tiny, kind):
    save_tiny(tmp_path, 250)
    path = tmp_path / "step-00000250" / "manifest.json"
    value = json.loads(path.read_text())
    BAD_MANIFESTS[kind](value)
    path.write_text(json.dumps(value))
    with pytest.raises(LabError, match=re.escape(MANIFESTS_SAID[kind])) as caught:
        open_checkpoint(tmp_path / "step-00000250", 250)
    assert "\n" not in str(caught.value) and "manifest.json" in str(caught.value)


@pytest.mark.parametrize(
    "text", ["", "[]", "{}", '{"format": 1, "step": -1}', '{"format": 1, "step": true}', "x", "9" * 5000]
)
def test_a_hostile_pointer_points_nowhere_and_the_folder_is_looked_through(tmp_path, save_tiny, value_of, text):
    save_tiny(tmp_path, 250)
    (tmp_path / "latest.json").write_text(text)
    assert pointed(tmp_path, "latest") is None
    checkpoint, lines = find(tmp_path, "latest")
    assert value_of(checkpoint) == 250
    assert len(lines) == 1 and "latest.json" in lines[0]


def test_a_manifest_or_state_of_unreasonable_size_is_refused_unread(tmp_path, save_tiny):
    save_tiny(tmp_path, 250)
    for name in ("manifest.json", "state.json"):
        kept = (tmp_path / "step-00000250" / name).read_bytes()
        with open(tmp_path / "step-00000250" / name, "r+b") as file:
            file.truncate(1 << 32)
        with pytest.raises(LabError, match=name):
            open_checkpoint(tmp_path / "step-00000250", 250)
        (tmp_path / "step-00000250" / name).write_bytes(kept)


@pytest.mark.parametrize("name", ["../escape", "a/b", "..", "", "a\\b", "C:x"])
def test_a_part_whose_name_leads_out_of_the_folder_is_refused(tmp_path, name):
    from lmlab.checkpoint.saving import save

    with pytest.raises(LabError, match="part"):
        save(tmp_path / "checkpoints", 1, {name: {}}, {})
