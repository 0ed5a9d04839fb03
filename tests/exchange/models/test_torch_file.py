"""Files of torch.save are read as PyTorch reads them, and nothing in them is executed."""

import collections
import io
import os
import pickle
import struct
import zipfile

import pytest
import torch

from lmlab import LabError
from lmlab.exchange.models import pickled
from lmlab.exchange.models.pickled import read_pickle, write_pickle
from lmlab.exchange.models.torch_file import read_torch_file

DTYPES = [
    *(torch.float64, torch.float32, torch.float16, torch.bfloat16, torch.complex64, torch.complex128),
    *(torch.int64, torch.int32, torch.int16, torch.int8, torch.uint8, torch.bool),
    *(torch.uint16, torch.uint32, torch.uint64, torch.float8_e4m3fn, torch.float8_e5m2),
]
ONE_LINE = "\n"


def saved(path, value, **options):
    torch.save(value, path, **options)
    return path


def refused(path):
    with pytest.raises(LabError) as error:
        read_torch_file(path)
    assert ONE_LINE not in str(error.value) and path.name in str(error.value)
    return str(error.value)


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_every_dtype_has_the_bytes_that_were_saved(tmp_path, dtype):
    tensor = torch.randint(0, 2, (3, 5), generator=torch.Generator().manual_seed(0)).to(dtype)
    found = read_torch_file(saved(tmp_path / "a.pt", tensor))
    assert found.dtype == dtype and found.shape == (3, 5)
    assert torch.equal(found.view(torch.uint8), tensor.view(torch.uint8))


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
def test_containers_keep_their_form_in_every_protocol(tmp_path, protocol):
    value = {
        "numbers": [1, -(2**40), 2**70, 2.5, True, None, 70_000, 255],
        "nested": {"a": [{"b": (1, (2, (3, 4, 5, 6))), 7: "seven"}], "": ()},
        "ordered": collections.OrderedDict(x=1, y="ü\n\0"),
        "long": "x" * 300,
    }
    found = read_torch_file(saved(tmp_path / "a.pt", value, pickle_protocol=protocol))
    assert found == value
    assert list(found["ordered"]) == ["x", "y"]


def test_views_are_views_and_shared_storages_are_read_once(tmp_path):
    whole = torch.arange(60.0).reshape(3, 4, 5)
    value = {
        "whole": whole,
        "turned": whole.permute(2, 0, 1),
        "part": whole[1:, ::2, 3:],
        "one": whole[2, 3, 4],
        "none": whole[3:],
        "scalar": torch.tensor(7),
        "again": [whole, whole],
    }
    found = read_torch_file(saved(tmp_path / "a.pt", value))
    for name in ("whole", "turned", "part", "one", "none", "scalar"):
        assert torch.equal(found[name], value[name]), name
    tensors = [found[name] for name in ("whole", "turned", "part", "one")] + found["again"]
    assert len({tensor.untyped_storage().data_ptr() for tensor in tensors}) == 1
    assert found["turned"].stride() == value["turned"].stride()


def test_a_module_s_state_and_its_optimizer_s_are_read(tmp_path):
    model = torch.nn.Sequential(torch.nn.Linear(3, 4), torch.nn.LayerNorm(4))
    optimizer = torch.optim.AdamW(model.parameters())
    model(torch.ones(2, 3)).sum().backward()
    optimizer.step()
    value = {"model": model.state_dict(), "optimizer": optimizer.state_dict(), "parameter": next(model.parameters())}
    found = read_torch_file(saved(tmp_path / "a.pt", value))
    assert found["model"].keys() == value["model"].keys()
    assert all(torch.equal(found["model"][name], tensor) for name, tensor in value["model"].items())
    moments = value["optimizer"]["state"][0]["exp_avg"]
    assert torch.equal(found["optimizer"]["state"][0]["exp_avg"], moments)
    assert found["optimizer"]["param_groups"] == value["optimizer"]["param_groups"]
    assert torch.equal(found["parameter"], value["parameter"])


def test_changing_a_tensor_leaves_the_file_alone(tmp_path):
    path = saved(tmp_path / "a.pt", torch.ones(4))
    before = path.read_bytes()
    read_torch_file(path).zero_()
    assert path.read_bytes() == before


class Calls:
    """Pickles as a call of any function."""

    def __init__(self, function, *arguments):
        self.facts = function, arguments

    def __reduce__(self):
        return self.facts


@pytest.mark.parametrize(
    "function, arguments, name",
    [
        (os.system, ("touch {here}",), "system"),
        (eval, ("__import__('os').mkdir('{here}')",), ".eval"),
        (exec, ("open('{here}', 'w')",), ".exec"),
        (getattr, (torch, "load"), ".getattr"),
        (torch.load, ("{here}",), "torch.serialization.load"),
        (torch.nn.Linear, (2, 2), "torch.nn.modules.linear.Linear"),
        (collections.Counter, ("aa",), "collections.Counter"),
    ],
)
def test_no_function_is_called(tmp_path, function, arguments, name):
    here = tmp_path / "done"
    call = Calls(function, *(one.format(here=here) if isinstance(one, str) else one for one in arguments))
    if function is getattr:
        call = Calls(getattr, "text", "upper")
    said = refused(saved(tmp_path / "a.pt", {"x": [call]}))
    assert name in said and "state_dict()" in said
    assert not here.exists()


def test_a_whole_model_is_refused_by_its_class(tmp_path):
    assert "torch.nn.modules.linear.Linear" in refused(saved(tmp_path / "a.pt", torch.nn.Linear(2, 2)))


def test_the_format_before_version_1_6_is_named(tmp_path):
    path = saved(tmp_path / "a.pt", {"x": torch.ones(2)}, _use_new_zipfile_serialization=False)
    assert "before version 1.6" in refused(path)
    (tmp_path / "b.pt").write_bytes(b"\x93NUMPY")
    assert "was not written by torch.save" in refused(tmp_path / "b.pt")
    (tmp_path / "c.pt").write_bytes(b"")
    assert "was not written by torch.save" in refused(tmp_path / "c.pt")


# What follows is built by hand: pickles that torch.save doesn't write.


class Storages(pickle.Pickler):
    """A pickler that writes `Storage` values as references to storages."""

    def persistent_id(self, value):
        return value.facts if isinstance(value, Storage) else None


class Storage:
    def __init__(self, elements=6, key="0", kind=torch.FloatStorage, what="storage"):
        self.facts = (what, kind, key, "cpu", elements)


def archive(path, value, entries=None, packing=zipfile.ZIP_STORED, raw=None):
    content = io.BytesIO()
    Storages(content, protocol=2).dump(value)
    parts = {
        "a/data.pkl": raw or content.getvalue(),
        "a/byteorder": b"little",
        "a/data/0": bytes(24),
        **(entries or {}),
    }
    with zipfile.ZipFile(path, "w", packing) as file:
        for name, part in parts.items():
            if part is not None:
                file.writestr(name, part)
    return path


def tensor(storage=None, offset=0, size=(6,), stride=(1,), elements=6):
    rebuilt = torch._utils._rebuild_tensor_v2
    return Calls(rebuilt, storage or Storage(elements), offset, size, stride, False, collections.OrderedDict())


def test_the_hand_made_archive_is_read_where_nothing_is_wrong(tmp_path):
    assert torch.equal(
        read_torch_file(archive(tmp_path / "a.pt", tensor(size=(2, 3), stride=(1, 2)))), torch.zeros(2, 3)
    )


@pytest.mark.parametrize(
    "value",
    [
        tensor(size=(7,)),
        tensor(offset=1),
        tensor(offset=-1, size=(1,)),
        tensor(size=(2, 3), stride=(4, 1)),
        tensor(size=(2,), stride=(-1,)),
        tensor(size=(1 << 40,), stride=(0,)),
        tensor(size=(1 << 40, 1 << 40), stride=(0, 0)),
        tensor(size=(1 << 62, 2), stride=(0, 0)),
        tensor(size=(2.0,)),
        tensor(size=(True,)),
        tensor(size=(2,), stride=(1, 1)),
        tensor(size=[2], stride=[1]),
        tensor(size=(1,) * 65, stride=(1,) * 65),
        tensor(size=(0,), offset=1 << 50),
        tensor(Storage(1 << 40)),
        tensor(Storage(5)),
        tensor(Storage(12)),
        tensor(Storage(6, key="1")),
        tensor(Storage(6, key="../0")),
        tensor(Storage(6, kind="float32")),
        tensor(Storage(6, what="module")),
        tensor("no storage"),
        Calls(torch._utils._rebuild_tensor_v2, Storage()),
        Calls(torch._utils._rebuild_parameter, 3, False, {}),
        Calls(collections.OrderedDict, [("a", 1)]),
    ],
)
def test_a_tensor_that_is_not_in_its_storage_is_refused(tmp_path, value):
    refused(archive(tmp_path / "a.pt", value))


def test_a_storage_can_not_name_more_bytes_than_the_file_has(tmp_path):
    path = archive(tmp_path / "a.pt", tensor())
    content = path.read_bytes()
    sizes = struct.pack("<II", 24, 24)
    at = content.rindex(sizes)  # the central directory's
    path.write_bytes(content[:at] + struct.pack("<II", 1 << 30, 1 << 30) + content[at + 8 :])
    assert "more bytes than the file" in refused(path)


def test_compressed_entries_are_refused_unread(tmp_path):
    path = archive(tmp_path / "a.pt", tensor(), {"a/data/0": bytes(100 << 20)}, zipfile.ZIP_DEFLATED)
    assert path.stat().st_size < 1 << 20
    assert "compressed" in refused(path)


def test_entries_that_share_their_bytes_are_refused(tmp_path):
    # Many entries of the central directory that point to one local entry: the "better zip bomb".
    path = archive(tmp_path / "a.pt", tensor(), {"a/data/1": bytes(4000)})
    content = path.read_bytes()
    directory = content.index(b"PK\x01\x02")
    end = content.index(b"PK\x05\x06")
    last = content.rindex(b"PK\x01\x02", 0, end)
    copies = b"".join(content[last:end].replace(b"a/data/1", b"a/data/%c" % letter) for letter in b"abcdefgh")
    count = 12
    tail = struct.pack("<4sHHHHIIH", b"PK\x05\x06", 0, 0, count, count, end - directory + len(copies), directory, 0)
    path.write_bytes(content[:end] + copies + tail)
    assert "more bytes than the file" in refused(path)


@pytest.mark.parametrize("share", [0.1, 0.3, 0.5, 0.7, 0.9, 0.99])
def test_a_file_that_was_cut_off_is_refused(tmp_path, share):
    path = saved(tmp_path / "a.pt", {"x": torch.ones(1000), "y": [1, "two"]})
    path.write_bytes(path.read_bytes()[: int(path.stat().st_size * share)])
    refused(path)


@pytest.mark.parametrize(
    "entries, said",
    [
        ({"a/constants.pkl": b"N."}, "TorchScript"),
        ({"a/byteorder": b"big"}, "big-endian"),
        ({"a/byteorder": bytes(1000)}, "byteorder"),
        ({"a/data.pkl": None}, "not one that torch.save wrote"),
        ({"b/data.pkl": b"N."}, "not one that torch.save wrote"),
        ({"a/data/0": None}, "has no data/0"),
    ],
)
def test_an_archive_of_another_form_is_refused(tmp_path, entries, said):
    assert said in refused(archive(tmp_path / "a.pt", tensor(), entries))


def test_an_archive_of_before_byteorder_is_little_endian(tmp_path):
    assert torch.equal(read_torch_file(archive(tmp_path / "a.pt", tensor(), {"a/byteorder": None})), torch.zeros(6))


@pytest.mark.parametrize(
    "program",
    [
        b"",
        b"\x80\x02",
        b".",
        b"\x80\x02N",
        b"\x80\x02h\x05.",  # a value that was never stored
        b"\x80\x02r\xff\xff\xff\xffN.",  # stores nothing
        b"\x80\x02(r\x01\0\0\0.",  # stores a mark
        b"\x80\x02(.",
        b"\x80\x02(2.",  # duplicates a mark
        b"\x80\x02N(a.",
        b"\x80\x02Na.",
        b"\x80\x02Nu.",
        b"\x80\x02}(Nu.",  # a key without a value
        b"\x80\x02}(]Nu.",  # a list as a key
        b"\x80\x02}()Nu.",  # a tuple as a key
        b"\x80\x02]Ns.",
        b"\x80\x02)R.",
        b"\x80\x02N)R.",
        b"\x80\x02ccollections\nOrderedDict\nNR.",
        b"\x80\x02N}b.",
        b"\x80\x02cos\nsystem\n.",
        b"\x80\x02\x8c\x02os\x8c\x06system\x93.",
        b"\x80\x02N\x8c\x06system\x93.",
        b"\x80\x02NQ.",  # a persistent id of None
        b"\x80\x02Pabc\n.",
        b"\x80\x02\x82\x01.",  # copyreg's extension registry
        b"\x80\x02ccollections\nOrderedDict\n)\x81.",  # object.__new__
        b"(icollections\nOrderedDict\n.",
        b"\x80\x02B\xff\xff\xff\x7f.",  # 2 GB of bytes
        b"\x80\x05\x8d\xff\xff\xff\xff\xff\xff\xff\x7f.",
        b"\x80\x02\x8b\xff\xff\xff\x7f.",
        b"I" + b"9" * 10_000 + b"\n.",
        b"\x80\xff.",
        b"\xff.",
    ],
)
def test_a_program_that_is_no_value_is_refused(tmp_path, program):
    with pytest.raises(LabError) as error:
        read_pickle(program, "a.pt")
    assert ONE_LINE not in str(error.value)
    if program:
        refused(archive(tmp_path / "a.pt", None, raw=program))


def test_tuples_that_share_their_parts_take_no_more_memory_than_their_pickle():
    # 2^60 leaves, were they counted: a tuple of twice the one before, sixty times.
    program = b"\x80\x02)" + b"2\x86" * 60 + b"."
    found = read_pickle(program, "a.pt")
    assert found[0] is found[1]
    with pytest.raises(LabError, match="key"):
        read_pickle(b"\x80\x02})" + b"2\x86" * 60 + b"Ns.", "a.pt")


def test_values_that_hold_themselves_are_read():
    found = read_pickle(b"\x80\x02]q\0h\0a.", "a.pt")
    assert found[0] is found


def test_the_number_of_instructions_and_the_size_are_limited(monkeypatch):
    monkeypatch.setattr(pickled, "MOST_INSTRUCTIONS", 100)
    with pytest.raises(LabError, match="more than 100 instructions"):
        read_pickle(b"\x80\x02" + b"N0" * 60 + b"N.", "a.pt")
    monkeypatch.setattr(pickled, "LARGEST_BYTES", 100)
    with pytest.raises(LabError, match="at most 100"):
        read_pickle(bytes(101), "a.pt")


@pytest.mark.parametrize(
    "value",
    [{"stoi": {"\n": 0, "é": 1}, "itos": {0: "\n", 1: "é"}, "vocab_size": 2}, [None, True, -5, 1 << 30, "\ud800"], {}],
)
def test_a_pickle_that_is_written_is_what_python_reads(value):
    assert pickle.loads(write_pickle(value)) == value
    assert read_pickle(write_pickle(value), "a.pkl") == value
    assert read_pickle(pickle.dumps(value), "a.pkl") == value


@pytest.mark.parametrize("value", [1 << 31, 2.5, (1,), {1: {2}}])
def test_other_values_are_not_written(value):
    with pytest.raises(ValueError, match="no value that write_pickle knows"):
        write_pickle(value)
