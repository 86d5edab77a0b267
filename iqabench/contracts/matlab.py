"""MATLAB files, without native code: one wrong byte is an error, never the end of the process.

``scipy.io.loadmat`` trusts the tags of a file of level 5 (MATLAB 5 to 7.2): an unknown type of data
or a size beyond the file makes it read foreign memory. Here each tag is checked against the bytes
that are there. Layout: The MathWorks, "MAT-File Format". Files of version 4 have no tags; scipy
reads them in Python.
"""

from __future__ import annotations

import io
import math
import struct
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

HEADER = 128
LIMIT = 1 << 26
"""Bytes that a compressed variable may have: a label file is far smaller."""
DEPTH = 4
"""Cells within cells that are followed."""
DIMENSIONS = 32
"""Dimensions of an array that every numpy can have."""

_INTEGERS = {1: "i1", 2: "u1", 3: "i2", 4: "u2", 5: "i4", 6: "u4", 12: "i8", 13: "u8"}
_NUMBERS = {**_INTEGERS, 7: "f4", 9: "f8"}
_TEXTS = {1: "latin-1", 2: "latin-1", 4: "utf-16", 16: "utf-8", 17: "utf-16", 18: "utf-32"}
_INT8, _INT32, _UINT32, _MATRIX, _COMPRESSED, _UTF8 = 1, 5, 6, 14, 15, 16
_CELLS, _CHARACTERS, _OPAQUE, _NUMERIC = 1, 4, 17, range(6, 16)
_COMPLEX = 0x800


class MatlabError(ValueError):
    """The file cannot be used; the message goes on from its name ("is damaged: ...")."""


class WrongKindError(MatlabError):
    """The file is sound, but a variable is of another kind than asked for."""


@dataclass(frozen=True)
class _Variable:
    name: str
    kind: int
    is_complex: bool
    shape: tuple[int, ...]
    parts: Iterator[tuple[int, memoryview]]
    order: str


def read_variables(data: bytes, names: Sequence[str]) -> tuple[dict[str, list[Any]], list[str]]:
    """Return the wanted variables as flat lists, and the names of all that are there.

    Args:
        data: The file.
        names: Variables that are wanted; those that are not there are left out.

    Raises:
        MatlabError: It is no such file, or damaged.
        WrongKindError: A wanted variable holds neither real numbers nor texts.
    """
    if b"\0" in data[:4]:
        return _version_4(data, names)
    order = {b"IM": "<", b"MI": ">"}.get(data[126:HEADER])
    if order is None:
        raise MatlabError("is no MATLAB file")
    version = struct.unpack_from(order + "H", data, 124)[0]
    if version != 0x0100:
        what = "of version 7.3" if version == 0x0200 else f"of the unknown level {version:#06x}"
        raise MatlabError(f"is a MATLAB file {what}, not 4 to 7.2")
    found: dict[str, list[Any]] = {}
    there: list[str] = []
    for kind, content in _elements(memoryview(data)[HEADER:], order):
        if kind == _COMPRESSED:
            content = _inflated(content, order)
        elif kind != _MATRIX:
            raise MatlabError(f"is damaged: data of type {kind} stands where a variable should")
        variable = _variable(content, order)
        there.append(variable.name)
        if variable.name in names:
            try:
                found[variable.name] = _values(variable)
            except WrongKindError as e:
                raise WrongKindError(f"{variable.name!r} {e}") from e
    return found, [name for name in there if name]


def _elements(data: memoryview, order: str) -> Iterator[tuple[int, memoryview]]:
    """Yield type and content of each tagged element."""
    at = 0
    while at < len(data):
        if len(data) - at < 8:
            raise MatlabError("is damaged: it ends within a tag")
        kind, size = struct.unpack_from(order + "II", data, at)
        start = at + 8
        if kind >> 16:  # the short form: size, type and up to four bytes of data in eight
            kind, size, start = kind & 0xFFFF, kind >> 16, at + 4
            if size > 4:
                raise MatlabError(f"is damaged: {size} bytes are announced where four are")
            end = at + 8
        else:
            end = start + size + (0 if kind == _COMPRESSED else -size % 8)
        if start + size > len(data):
            missing = start + size - len(data)
            raise MatlabError(f"is damaged: {missing} bytes that are announced are not there")
        yield kind, data[start : start + size]
        at = end


def _take(parts: Iterator[tuple[int, memoryview]], what: str, *kinds: int) -> tuple[int, Any]:
    """Return the next element, which has to be of one of these types."""
    kind, content = next(parts, (None, None))
    if kind is None or kind not in kinds:
        shown = "nothing" if kind is None else f"data of type {kind}"
        raise MatlabError(f"is damaged: {shown} stands where {what} should")
    return kind, content


def _inflated(content: memoryview, order: str) -> memoryview:
    """Return the content of the one variable that a compressed element holds."""
    try:
        inflate = zlib.decompressobj()
        plain = inflate.decompress(content, LIMIT)
    except zlib.error as e:
        raise MatlabError(f"is damaged: {e}") from e
    if not inflate.eof:
        why = f"has more than {LIMIT} bytes" if inflate.unconsumed_tail else "ends too early"
        raise MatlabError(f"is damaged: a compressed variable {why}")
    return _take(_elements(memoryview(plain), order), "a variable", _MATRIX)[1]  # type: ignore[no-any-return]


def _variable(content: memoryview, order: str) -> _Variable:
    parts = _elements(content, order)
    flags = _integers(_take(parts, "what kind of variable follows", _UINT32)[1], order)
    if len(flags) != 2:
        raise MatlabError("is damaged: what kind of variable follows is not clear")
    kind = flags[0] & 0xFF
    shape: tuple[int, ...] = ()
    if kind != _OPAQUE:
        shape = tuple(_integers(_take(parts, "the size of a variable", _INT32, _UINT32)[1], order))
        if len(shape) > DIMENSIONS:
            raise MatlabError(f"is damaged: a variable has {len(shape)} dimensions")
    coding, content = _take(parts, "the name of a variable", _INT8, _UTF8)
    name = bytes(content).decode("utf-8" if coding == _UTF8 else "latin-1", errors="replace")
    return _Variable(name, kind, bool(flags[0] & _COMPLEX), shape, parts, order)


def _integers(content: memoryview, order: str) -> list[int]:
    if len(content) % 4:
        raise MatlabError("is damaged: an integer is cut off")
    return list(struct.unpack(f"{order}{len(content) // 4}I", content))


def _values(variable: _Variable, depth: int = 0) -> list[Any]:
    """Return the numbers or texts of a variable, one row after the other."""
    if variable.kind == _CELLS and depth < DEPTH:
        entries = [_entry(_content(part), variable, depth) for part in variable.parts]
        return _by_rows(entries, variable)
    if variable.kind == _CHARACTERS:
        return _texts(variable)
    if variable.kind in _NUMERIC and not variable.is_complex:
        kind, content = _take(variable.parts, "the numbers of a variable", *_NUMBERS)
        stored = np.dtype(variable.order + _NUMBERS[kind])
        if len(content) % stored.itemsize:
            raise MatlabError(f"is damaged: a number of {variable.name!r} is cut off")
        return _by_rows(np.frombuffer(content, stored).astype(float).tolist(), variable)
    raise WrongKindError("holds neither real numbers nor texts")


def _content(part: tuple[int, memoryview]) -> memoryview:
    return _take(iter([part]), "an entry of a cell array", _MATRIX)[1]  # type: ignore[no-any-return]


def _entry(content: memoryview, outer: _Variable, depth: int) -> Any:
    """Return the one value of an entry of a cell array; an empty entry is an empty text."""
    values = _values(_variable(content, outer.order), depth + 1) if content else []
    if len(values) > 1:
        raise WrongKindError(f"holds {len(values)} values in one of its cells")
    return values[0] if values else ""


def _texts(variable: _Variable) -> list[str]:
    """Return each row of an array of characters as one text."""
    if len(variable.shape) != 2:
        raise WrongKindError("holds characters in more than two dimensions")
    kind, content = _take(variable.parts, "the characters of a variable", *_TEXTS)
    coding = _TEXTS[kind]
    if coding in ("utf-16", "utf-32"):
        coding += "-le" if variable.order == "<" else "-be"
    try:
        text = bytes(content).decode(coding)
    except UnicodeDecodeError as e:
        raise MatlabError(f"is damaged: a text is no {coding}") from e
    _check_count(len(text), variable)
    rows = variable.shape[0] if text else 0
    return [text[row::rows].strip() for row in range(rows)]


def _by_rows(values: list[Any], variable: _Variable) -> list[Any]:
    """Return values that are stored column after column, row after row."""
    _check_count(len(values), variable)
    if sum(n > 1 for n in variable.shape) < 2:
        return values
    places = np.arange(len(values)).reshape(variable.shape, order="F").ravel()
    return [values[place] for place in places]


def _check_count(count: int, variable: _Variable) -> None:
    if math.prod(variable.shape) != count:
        shown = " x ".join(map(str, variable.shape))
        raise MatlabError(f"is damaged: {variable.name!r} is {shown} and has {count} entries")


def _version_4(data: bytes, names: Sequence[str]) -> tuple[dict[str, list[Any]], list[str]]:
    from scipy.io import loadmat, whosmat
    from scipy.sparse import issparse

    try:
        there = [entry[0] for entry in whosmat(io.BytesIO(data))]
        arrays = loadmat(io.BytesIO(data), variable_names=names)
    except Exception as e:  # scipy raises many kinds on what is no such file
        raise MatlabError("is no MATLAB file") from e
    wanted = {name: arrays[name] for name in names if name in arrays}
    for name, array in wanted.items():
        if issparse(array) or array.dtype.kind == "c":
            raise WrongKindError(f"{name!r} holds neither real numbers nor texts")
    return {name: [_plain(value) for value in array.flat] for name, array in wanted.items()}, there


def _plain(value: Any) -> float | str:
    return value.strip() if isinstance(value, str) else float(value)
