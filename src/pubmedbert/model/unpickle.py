"""What a pickle of tensors describes, told without running it.

A pickle is a little program that can call whatever Python can. Here its instructions are read one by one, and those
alone obeyed that a table of tensors needs; a name that it asks for is compared with a list and never looked up.
"""

from __future__ import annotations

import io
from dataclasses import dataclass
from pickletools import genops
from typing import Any, TypeVar

import numpy as np
from numpy.typing import DTypeLike

from pubmedbert.model.tensors import BFLOAT16

_Kind = TypeVar("_Kind")
_STORAGES: dict[str, DTypeLike] = {
    "torch DoubleStorage": "<f8",
    "torch FloatStorage": "<f4",
    "torch HalfStorage": "<f2",
    "torch BFloat16Storage": BFLOAT16,
    "torch LongStorage": "<i8",
    "torch IntStorage": "<i4",
    "torch ShortStorage": "<i2",
    "torch CharStorage": "i1",
    "torch ByteStorage": "u1",
    "torch BoolStorage": "?",
}
_TABLE = "collections OrderedDict"
_TENSORS = ("torch._utils _rebuild_tensor_v2", "torch._utils _rebuild_tensor")
_PARAMETERS = ("torch._utils _rebuild_parameter", "torch._utils _rebuild_parameter_with_state")
_ALLOWED = {_TABLE, *_TENSORS, *_PARAMETERS, *_STORAGES}
_MOST_PAIRS = 100_000
"""Most pairs in the tables that calls make of lists: one list, named again and again, could fill any memory."""


class CodeError(Exception):
    """The pickle asks for something that tensors do not need."""


@dataclass(frozen=True, slots=True)
class _Name:
    """A name the pickle asks for, as `module name`; one of `_ALLOWED`."""

    name: str


@dataclass(frozen=True, slots=True)
class Storage:
    """A run of numbers that tensors lie in, or a part of one."""

    key: str
    kind: np.dtype[Any]
    size: int
    """How many numbers the whole run has."""
    first: int = 0
    """The first of the part."""
    count: int | None = None
    """How many the part has; None is the whole."""


@dataclass(frozen=True, slots=True)
class View:
    """A tensor, before its numbers are looked at."""

    storage: Storage
    offset: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]


def run(stream: io.BytesIO, known: dict[str, Storage]) -> object:
    """What a pickle describes: tables, lists, tuples, numbers, texts, `_Name` and `View`.

    Args:
        stream: left behind the pickle's last byte.
        known: gets the storages it names, by their key.
    """
    machine = _Machine(known)
    for opcode, argument, _ in genops(stream):
        machine.obey(opcode.name, argument)
    return machine.stack[-1]


class _Machine:
    """The instructions of a pickle that a table of tensors needs: those of torch.save's protocol 2."""

    def __init__(self, known: dict[str, Storage]) -> None:
        self.stack: list[Any] = []
        self._known = known
        self._marks: list[int] = []
        self._memo: dict[int, Any] = {}
        self._pairs = 0

    def obey(self, opcode: str, argument: Any) -> None:
        """Obey one instruction, by its name in the module pickletools, or refuse it."""
        stack = self.stack
        match opcode:
            case "PROTO" | "STOP":
                pass
            case "NONE" | "NEWTRUE" | "NEWFALSE":
                stack.append({"NONE": None, "NEWTRUE": True, "NEWFALSE": False}[opcode])
            case "BININT" | "BININT1" | "BININT2" | "LONG1" | "BINFLOAT" | "BINUNICODE" | "SHORT_BINSTRING":
                stack.append(argument)
            case "EMPTY_TUPLE" | "EMPTY_LIST" | "EMPTY_DICT":
                stack.append({"EMPTY_TUPLE": tuple, "EMPTY_LIST": list, "EMPTY_DICT": dict}[opcode]())
            case "MARK":
                self._marks.append(len(stack))
            case "TUPLE" | "TUPLE1" | "TUPLE2" | "TUPLE3":
                items = self._marked() if opcode == "TUPLE" else self._popped(int(opcode[-1]))
                stack.append(tuple(items))
            case "APPEND" | "APPENDS":
                items = self._marked() if opcode == "APPENDS" else self._popped(1)
                _of(list, stack[-1]).extend(items)
            case "SETITEM" | "SETITEMS":
                items = self._marked() if opcode == "SETITEMS" else self._popped(2)
                _fill(_of(dict, stack[-1]), zip(items[::2], items[1::2], strict=True))
            case "BINPUT" | "LONG_BINPUT":
                self._memo[argument] = stack[-1]
            case "BINGET" | "LONG_BINGET":
                stack.append(self._memo[argument])
            case "GLOBAL":
                if argument not in _ALLOWED:
                    raise CodeError(f"{argument!a:.80}")
                stack.append(_Name(argument))
            case "REDUCE":
                name, arguments = self._popped(2)
                stack.append(self._call(_of(_Name, name).name, _of(tuple, arguments)))
            case "BUILD":  # attributes of a table (`_metadata`: versions of modules), which nobody here asks for
                stack.pop()
            case "BINPERSID":
                stack.append(self._storage(_of(tuple, stack.pop())))
            case _:
                raise CodeError(f"instruction {opcode}")

    def _popped(self, count: int) -> list[Any]:
        if count > len(self.stack):
            raise IndexError("the stack is empty")
        items = self.stack[-count:]
        del self.stack[-count:]
        return items

    def _marked(self) -> list[Any]:
        """The items since the last mark."""
        mark = self._marks.pop()
        items = self.stack[mark:]
        del self.stack[mark:]
        return items

    def _storage(self, identity: tuple[Any, ...]) -> Storage:
        """`("storage", class, key, device, size)`; the older form adds None, or `(key, first, count)` of a part."""
        sign, name, key, _, size, *rest = identity
        if sign != "storage" or not isinstance(key, str) or _of(_Name, name).name not in _STORAGES or len(rest) > 1:
            raise ValueError("a storage is not named as torch names it")
        whole = Storage(key, np.dtype(_STORAGES[name.name]), _of(int, size))
        if self._known.setdefault(key, whole) != whole:
            raise ValueError("a storage has two kinds or sizes")
        if not rest or rest[0] is None:
            return whole
        _, first, count = _of(tuple, rest[0])
        return Storage(key, whole.kind, whole.size, _of(int, first), _of(int, count))

    def _call(self, name: str, arguments: tuple[Any, ...]) -> object:
        """What a call that the pickle asks for makes, had it been made."""
        if name in _TENSORS:  # what follows these four: whether it wants gradients, and hooks
            storage, offset, shape, strides, *_ = arguments
            return View(_of(Storage, storage), offset, _of(tuple, shape), _of(tuple, strides))
        if name in _PARAMETERS:
            return _of(View, arguments[0])
        if name == _TABLE:
            pairs = _of(list, arguments[0]) if arguments else []
            self._pairs += len(pairs)
            if self._pairs > _MOST_PAIRS:
                raise ValueError(f"it makes tables of more than {_MOST_PAIRS:,} pairs")
            table: dict[str, Any] = {}
            _fill(table, pairs)
            return table
        raise CodeError(f"a call of {name!a}")


def _fill(table: dict[str, Any], pairs: Any) -> None:
    """Put pairs into a table; a key that is no text could make Python compare or hash without end."""
    for key, value in pairs:
        table[_of(str, key)] = value


def _of(kind: type[_Kind], value: object) -> _Kind:
    """The value, if it is of a kind."""
    if type(value) is not kind:
        raise TypeError(f"a {kind.__name__.strip('_').lower()} is wanted, not a {type(value).__name__}")
    return value
