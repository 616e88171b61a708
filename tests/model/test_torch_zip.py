"""pytorch_model.bin without torch: what torch saves is read bit by bit, what is hostile is refused and never runs."""

from __future__ import annotations

import io
import os
import pickle
import struct
import warnings
import zipfile
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from pubmedbert.model.config import ModelError
from pubmedbert.model.tensors import floats
from pubmedbert.model.torch_zip import read_torch
from tests.model.test_tensors import KINDS

FORMS = pytest.mark.parametrize("zipped", [True, False])


def saved(folder: Path, value: object, *, zipped: bool = True) -> Path:
    path = folder / "pytorch_model.bin"
    torch.save(value, path, _use_new_zipfile_serialization=zipped)
    return path


def same(path: Path, state: dict[str, Tensor]) -> bool:
    found = read_torch(path)
    assert list(found) == list(state)
    return all(
        np.array_equal(floats(found[name]), value.detach().float().numpy(), equal_nan=True)
        and found[name].shape == tuple(value.shape)
        for name, value in state.items()
    )


@FORMS
@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_of_number(tmp_path: Path, zipped: bool, kind: torch.dtype) -> None:
    state = {"a": (torch.randn(3, 5) * 4).to(kind), "b": torch.zeros(0, 4, dtype=kind), "c": torch.ones(()).to(kind)}
    assert same(saved(tmp_path, state, zipped=zipped), state)


@FORMS
def test_views_share_a_storage(tmp_path: Path, zipped: bool) -> None:
    whole = torch.randn(6, 8)
    state = {"whole": whole, "tied": whole, "turned": whole.t(), "part": whole[1:5:2, 3:], "row": whole[2]}
    path = saved(tmp_path, state, zipped=zipped)
    assert same(path, state)
    assert path.stat().st_size < 2 * 4 * whole.numel() + 4096


@FORMS
@pytest.mark.filterwarnings("ignore:TypedStorage is deprecated")
def test_state_of_a_module(tmp_path: Path, zipped: bool) -> None:
    """An OrderedDict with `_metadata` of its own; and parameters, as careless code saves them."""
    module = torch.nn.Sequential(torch.nn.Linear(3, 4), torch.nn.LayerNorm(4))
    assert same(saved(tmp_path, module.state_dict(), zipped=zipped), module.state_dict())
    parameters = OrderedDict(module.named_parameters())
    assert same(saved(tmp_path, parameters, zipped=zipped), dict(parameters))


@settings(max_examples=60)
@given(data=st.data(), zipped=st.booleans())
def test_any_strides(tmp_path_factory: pytest.TempPathFactory, data: st.DataObject, zipped: bool) -> None:
    storage = torch.arange(200.0)
    shape = data.draw(st.lists(st.integers(0, 4), max_size=3))
    strides = data.draw(st.lists(st.integers(1, 12), min_size=len(shape), max_size=len(shape)))
    state = {"view": storage.as_strided(shape, strides, data.draw(st.integers(0, 40)))}
    assert same(saved(tmp_path_factory.mktemp("any"), state, zipped=zipped), state)


class Reduced:
    """Pickled as the call of a function."""

    def __init__(self, function: Callable[..., Any], *arguments: object) -> None:
        self.call = function, arguments

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[object, ...]]:
        return self.call


def pickled(text: bytes) -> bytes:
    """A zip archive of torch's form around a pickle, with a storage of four numbers."""
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("archive/data.pkl", text)
        archive.writestr("archive/data/0", np.arange(4, dtype="<f4").tobytes())
    return file.getvalue()


def refuse(folder: Path, data: bytes) -> str:
    path = folder / "pytorch_model.bin"
    path.write_bytes(data)
    with pytest.raises(ModelError) as caught:
        read_torch(path)
    sentence = str(caught.value)
    assert sentence.startswith(str(path))
    assert "\n" not in sentence
    return sentence


NEVER_RUN = "asks for code beside weights, which is never run"


@FORMS
@pytest.mark.parametrize("function", [os.mkdir, eval, exec, getattr, pickle.loads, open, torch.load, zipfile.ZipFile])
def test_calls_are_never_made(tmp_path: Path, zipped: bool, function: Callable[..., Any]) -> None:
    path = saved(tmp_path, {"a": torch.ones(2), "b": Reduced(function, str(tmp_path / "pwned"))}, zipped=zipped)
    assert NEVER_RUN in refuse(tmp_path, path.read_bytes())
    assert not (tmp_path / "pwned").exists()


@pytest.mark.parametrize(
    "name",
    [
        b"os\nsystem",
        b"posix\nsystem",
        b"builtins\neval",
        b"__builtin__\neval",
        b"torch._utils\n_import_dotted_name",
        b"torch._utils\n_rebuild_tensor_v2.__globals__",
        b"collections\nnamedtuple",
        b"collections\nOrderedDict.__init__",
        b"torch.serialization\nload",
        b"torch\nload",
        b"e" * 400 + b"\nx",
        b"torch FloatStorage\n",
        b"\n",
    ],
)
def test_names_that_are_not_on_the_list(tmp_path: Path, name: bytes) -> None:
    assert NEVER_RUN in refuse(tmp_path, pickled(b"\x80\x02c" + name + b"\n)R."))


@pytest.mark.parametrize(
    "program",
    [
        b"\x80\x02ctorch\nFloatStorage\n)R.",  # a storage class is no function
        b"\x80\x04\x8c\x02os\x8c\x06system\x93.",  # STACK_GLOBAL
        b"(S'true'\nios\nsystem\n.",  # INST
        b"\x80\x02ccollections\nOrderedDict\n)\x81.",  # NEWOBJ
        b"\x80\x02\x82\x01.",  # EXT1
        b"\x80\x05\x97.",  # NEXT_BUFFER
        b"P0\n.",  # PERSID
    ],
)
def test_other_instructions(tmp_path: Path, program: bytes) -> None:
    assert NEVER_RUN in refuse(tmp_path, pickled(program))


def tensor(storage: object, *about: object) -> bytes:
    """A pickle of `{"a": _rebuild_tensor_v2(storage, *about, False, None)}`, whatever these are."""

    class Pickler(pickle._Pickler):  # Python's own, which can be told what to write
        def persistent_id(self, value: object) -> object:
            return storage if value is Pickler else None

    file = io.BytesIO()
    machine = Pickler(file, protocol=2)
    machine.dump({"a": Reduced(torch._utils._rebuild_tensor_v2, Pickler, *about, False, None)})
    return file.getvalue()


FLOATS = ("storage", torch.FloatStorage, "0", "cpu", 4)
STORAGE = b"(X\x07\x00\x00\x00storagectorch\nFloatStorage\nX\x01\x00\x00\x000X\x03\x00\x00\x00cpuK\x04tQ"  # the same


def test_the_well_behaved_one(tmp_path: Path) -> None:
    path = tmp_path / "pytorch_model.bin"
    path.write_bytes(pickled(tensor(FLOATS, 1, (3,), (1,))))
    assert read_torch(path)["a"].tolist() == [1, 2, 3]


@pytest.mark.parametrize(
    "about",
    [
        (0, (5,), (1,)),
        (2, (3,), (1,)),
        (-1, (2,), (1,)),
        (1 << 62, (2,), (1,)),
        (0, (1 << 40,), (1,)),
        (0, (1 << 40, 1 << 40), (0, 0)),
        (0, (1 << 2000,), (0,)),
        (0, (5,), (0,)),
        (0, (-2,), (1,)),
        (0, (2,), (-1,)),
        (3, (2,), (-1,)),
        (0, (2,), (1 << 62,)),
        (0, (2, 2), (1,)),
        (0, (1,) * 40, (1,) * 40),
        (0, (0, 1 << 62), (1, 1)),
        (0, (2.0,), (1,)),
        (0, ("2",), (1,)),
        ("0", (2,), (1,)),
        (0, [2], (1,)),
        (0, None, (1,)),
        (None, (2,), (1,)),
    ],
)
def test_tensors_outside_their_storage(tmp_path: Path, about: tuple[object, ...]) -> None:
    assert "cannot be read as weights" in refuse(tmp_path, pickled(tensor(FLOATS, *about)))


@pytest.mark.parametrize(
    "storage",
    [
        ("storage", torch.FloatStorage, "0", "cpu", 5),
        ("storage", torch.FloatStorage, "0", "cpu", 1 << 60),
        ("storage", torch.FloatStorage, "0", "cpu", -1),
        ("storage", torch.DoubleStorage, "0", "cpu", 4),
        ("storage", torch.FloatStorage, "1", "cpu", 4),
        ("storage", torch.FloatStorage, "../data.pkl", "cpu", 4),
        ("storage", torch.FloatStorage, 0, "cpu", 4),
        ("storage", torch.FloatStorage, ("0",), "cpu", 4),
        ("storage", torch.FloatStorage, "0", "cpu", "4"),
        ("storage", torch.FloatStorage, "0", "cpu", 4, ("part", 3, 2)),
        ("storage", torch.FloatStorage, "0", "cpu", 4, ("part", -1, 2)),
        ("storage", OrderedDict, "0", "cpu", 4),
        ("storage", "torch FloatStorage", "0", "cpu", 4),
        ("module", torch.FloatStorage, "0", "cpu", 4),
        ("storage",),
        (),
        "storage",
        7,
    ],
)
def test_storages_of_odd_form(tmp_path: Path, storage: object) -> None:
    assert "cannot be read as weights" in refuse(tmp_path, pickled(tensor(storage, 0, (2,), (1,))))


@pytest.mark.parametrize(
    "program",
    [
        b"",
        b".",
        b"\x80\x02}",
        b"\x80\x02}q\xff",
        b"\x80\x02h\x07.",
        b"\x80\x02}r\xff\xff\xff\xff\x86.",  # a memo of four billion places must not be made
        b"\x80\x02X\xff\xff\xff\x7fabc.",
        b"\x80\x02u.",
        b"\x80\x02}(K\x01u.",
        b"\x80\x02}(K\x01K\x02u.",  # a key that is no text
        b"\x80\x02}(]K\x02u.",
        b"\x80\x02K\x01K\x02a.",
        b"\x80\x02}(X\x01\x00\x00\x00aK\x02u.",
        b"\x80\x02].",
        b"\x80\x02N.",
    ],
)
def test_broken_programs(tmp_path: Path, program: bytes) -> None:
    refuse(tmp_path, pickled(program))


def test_a_billion_laughs_end_soon(tmp_path: Path) -> None:
    """A nest of tuples, each of the one before twice: whoever hashes or prints it never ends."""
    nest = b"\x80\x02)" + b"q\x00h\x00\x86" * 100
    refuse(tmp_path, pickled(nest + b"."))
    refuse(tmp_path, pickled(b"\x80\x02}(" + nest[2:] + b"K\x01u."))
    refuse(tmp_path, pickled(nest + b"Q."))


def test_one_list_named_again_and_again_fills_no_memory(tmp_path: Path) -> None:
    """A thousand pairs, and two hundred calls that each make a table of them."""
    pairs = b"".join(b"X\x04\x00\x00\x00%04dN\x86" % number for number in range(1000))
    start = b"\x80\x02ccollections\nOrderedDict\nq\x00](" + pairs + b"eq\x01"
    path = tmp_path / "pytorch_model.bin"
    path.write_bytes(pickled(start + b"h\x00h\x01\x85R" * 90 + b"h\x00)R."))  # fewer are read
    assert read_torch(path) == {}
    assert "more than 100,000 pairs" in refuse(tmp_path, pickled(start + b"h\x00h\x01\x85R" * 200 + b"."))


def test_one_shape_of_many_axes_costs_no_time(tmp_path: Path) -> None:
    """Many tensors of one shape of 200,000 axes: whoever looked at each of these for each would take hours."""
    shape = b"(" + b"K\x01" * 200_000 + b"tq\x02"
    start = b"\x80\x02" + shape + b"ctorch._utils\n_rebuild_tensor_v2\nq\x03" + STORAGE + b"q\x04}("
    item = b"X\x05\x00\x00\x00%05dh\x03(h\x04K\x00h\x02h\x02\x89NtR"
    items = b"".join(item % number for number in range(20_000))
    assert "strides do not fit" in refuse(tmp_path, pickled(start + items + b"u."))


def test_an_archive_that_is_all_directory(tmp_path: Path) -> None:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        for number in range(30_000):
            archive.writestr(f"archive/data/{number:040}", b"")
    assert "2,097,152 are enough for any BERT" in refuse(tmp_path, file.getvalue())


def member(name: str, data: bytes, compression: int = zipfile.ZIP_STORED) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", compression) as archive:
        archive.writestr(name, data)
    return file.getvalue()


def test_a_zip_bomb_is_not_inflated(tmp_path: Path) -> None:
    assert "is compressed" in refuse(tmp_path, member("archive/data.pkl", bytes(100 << 20), zipfile.ZIP_DEFLATED))


def test_a_pickle_beyond_measure(tmp_path: Path) -> None:
    assert "are enough for any BERT" in refuse(tmp_path, member("archive/data.pkl", bytes(3 << 20)))


@pytest.mark.parametrize("name", ["data.pkl", "a/b/data.pkl", "archive/data.txt", "archive/constants.pkl"])
def test_archives_of_something_else(tmp_path: Path, name: str) -> None:
    assert "one data.pkl is wanted" in refuse(tmp_path, member(name, b"\x80\x02}."))


def test_members_that_claim_more_than_the_file_has(tmp_path: Path) -> None:
    data = bytearray(pickled(tensor(("storage", torch.FloatStorage, "0", "cpu", 1 << 20), 0, (1 << 20,), (1,))))
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        place = archive.start_dir
    entry = data.rindex(b"PK\x01\x02")
    assert entry > place
    data[entry + 20 : entry + 28] = struct.pack("<II", 1 << 22, 1 << 22)
    assert "cut short" in refuse(tmp_path, bytes(data))
    data[entry + 42 : entry + 46] = struct.pack("<I", 7)
    assert "is not where it should be" in refuse(tmp_path, bytes(data))


@pytest.mark.parametrize("order", [b"big", b"\xff"])
def test_numbers_the_other_way_round(tmp_path: Path, order: bytes) -> None:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("archive/data.pkl", b"\x80\x02}.")
        archive.writestr("archive/byteorder", order)
    assert "highest byte first" in refuse(tmp_path, file.getvalue())


def older(*pickles: object, numbers: bytes = b"") -> bytes:
    """The form before torch 1.6, of any parts."""
    parts = (part if isinstance(part, bytes) else pickle.dumps(part, protocol=2) for part in pickles)
    return b"".join(parts) + numbers


MAGIC, SYSTEM = 0x1950A86A20F9469CFC6C, {"protocol_version": 1001, "little_endian": True, "type_sizes": {"int": 4}}
OLDER = tensor((*FLOATS, None), 1, (3,), (1,))


def test_the_older_form_by_hand(tmp_path: Path) -> None:
    path = tmp_path / "pytorch_model.bin"
    numbers = struct.pack("<q4f", 4, 0, 1, 2, 3)
    path.write_bytes(older(MAGIC, 1001, SYSTEM, OLDER, ["0"], numbers=numbers))
    assert read_torch(path)["a"].tolist() == [1, 2, 3]
    part = tensor((*FLOATS, ("part", 2, 2)), 1, (1,), (1,))
    path.write_bytes(older(MAGIC, 1001, SYSTEM, part, ["0"], numbers=numbers))
    assert read_torch(path)["a"].tolist() == [3]


@pytest.mark.parametrize(
    ("data", "match"),
    [
        (older(MAGIC + 1), "neither form that torch.save writes; save it anew"),
        (older(MAGIC, 1000), "neither form"),
        (older(MAGIC, 1001, SYSTEM | {"little_endian": False}), "highest byte first"),
        (older(MAGIC, 1001, SYSTEM, OLDER, []), "cannot be read as weights"),
        (older(MAGIC, 1001, SYSTEM, OLDER, ["1"]), "cannot be read as weights"),
        (older(MAGIC, 1001, SYSTEM, OLDER, {"0": 1}), "the list of storages is missing"),
        (older(MAGIC, 1001, SYSTEM, OLDER, [["0"]]), "cannot be read as weights"),
        (
            older(MAGIC, 1001, SYSTEM, OLDER, b"\x80\x02])" + b"q\x00h\x00\x86" * 60 + b"a."),
            "list of storages is missing",
        ),
        (older(MAGIC, 1001, SYSTEM, OLDER, ["0"], numbers=struct.pack("<q3f", 4, 0, 1, 2)), "cut short"),
        (older(MAGIC, 1001, SYSTEM, OLDER, ["0"], numbers=struct.pack("<q4f", 1 << 62, 0, 1, 2, 3)), "cut short"),
        (older(MAGIC, 1001, SYSTEM, OLDER, ["0"], numbers=struct.pack("<q4f", -1, 0, 1, 2, 3)), "cut short"),
        (b"version https://git-lfs.github.com/spec/v1\n", "cannot be read as weights"),
        (b"<!DOCTYPE html>", "cannot be read as weights"),
        (b"", "cannot be read as weights"),
    ],
)
def test_the_older_form_damaged(tmp_path: Path, data: bytes, match: str) -> None:
    sentence = refuse(tmp_path, data)
    assert match in sentence or NEVER_RUN in sentence


@FORMS
def test_cut_anywhere(tmp_path: Path, zipped: bool) -> None:
    data = saved(tmp_path, {"a": torch.randn(40, 8), "b": torch.randn(8)}, zipped=zipped).read_bytes()
    for length in range(0, len(data) - 1, 61):
        refuse(tmp_path, data[:length])


@settings(max_examples=300)
@given(place=st.integers(0, 5000), value=st.binary(min_size=1, max_size=6), zipped=st.booleans())
def test_changed_bytes_are_refused_or_read(
    tmp_path_factory: pytest.TempPathFactory, place: int, value: bytes, zipped: bool
) -> None:
    folder = tmp_path_factory.mktemp("changed")
    path = saved(folder, OrderedDict(a=torch.ones(6, 4), b=torch.ones(4)), zipped=zipped)
    data = bytearray(path.read_bytes())
    place %= len(data)
    data[place : place + len(value)] = value
    path.write_bytes(data)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of pickletools, on odd escapes in a name
        try:
            found = read_torch(path)
        except ModelError:
            return
    assert all(isinstance(tensor, np.ndarray) for tensor in found.values())


@pytest.mark.parametrize(
    "value", [[torch.ones(2)], {"a": 1}, {"state_dict": {"a": torch.ones(2)}}, "text", torch.ones(2)]
)
def test_something_else_than_a_table(tmp_path: Path, value: object) -> None:
    assert "no table of tensors" in refuse(tmp_path, saved(tmp_path, value).read_bytes())
