"""The one grammar for components: flags, YAML, results and reports.

::

    spec = part {"+" part}      part = NAME [":" arg {"," arg}]      arg = [KEY "="] VALUE

The last part is the base; earlier parts wrap everything to their right. The first argument may come
without a key. Only the first colon splits (``module:pkg.mod:Class``). A value that holds ``,`` or
``+`` is quoted with ``'`` or ``"``.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from iqabench.errors import SpecError

_NAME = re.compile(r"(?:[A-Za-z0-9][\w.-]*/)?[A-Za-z_][\w-]*")
_KEY = re.compile(r"[A-Za-z_]\w*")
_QUOTES = "'\""


@dataclass(frozen=True)
class Argument:
    """One argument as written: ``key`` is None for a leading positional value."""

    key: str | None
    value: str
    quoted: bool = False


@dataclass(frozen=True)
class Part:
    """One part of a spec as written."""

    name: str
    arguments: tuple[Argument, ...] = ()


def parse(text: str) -> tuple[Part, ...]:
    """Return the parts of a component string, outermost first.

    Raises:
        SpecError: It does not follow the grammar; the message shows the place.

    Example:
        >>> [part.name for part in parse("jpeg:q=50+at:eps_255=2,steps=1+cprl")]
        ['jpeg', 'at', 'cprl']
        >>> parse("module:pkg.mod:Class")[0].arguments[0].value
        'pkg.mod:Class'
    """
    return tuple(_part(piece, text) for piece in _split(text, "+", text))


def _part(piece: str, text: str) -> Part:
    name, colon, rest = piece.partition(":")
    name = name.strip()
    if not name:
        raise SpecError(f"bad component {text!r}: a name is missing")
    if not _NAME.fullmatch(name):
        raise SpecError(f"bad component {text!r}: {name!r} is not a component name")
    if not colon:
        return Part(name)
    arguments: list[Argument] = []
    for argument in (_argument(a, text) for a in _split(rest, ",", text)):
        if argument.key is None and arguments:
            raise SpecError(
                f"bad component {text!r}: {argument.value!r} needs a key (NAME:key=value,...);"
                " only the first argument may go without"
            )
        if argument.key is not None and argument.key in (a.key for a in arguments):
            raise SpecError(f"bad component {text!r}: {argument.key!r} is given twice")
        arguments.append(argument)
    return Part(name, tuple(arguments))


def _argument(piece: str, text: str) -> Argument:
    key, equals, value = piece.partition("=")
    if equals and _KEY.fullmatch(key.strip()):
        return Argument(key.strip(), *_unquote(value.strip(), text))
    return Argument(None, *_unquote(piece.strip(), text))


def _unquote(value: str, text: str) -> tuple[str, bool]:
    if not value:
        raise SpecError(f"bad component {text!r}: a value is missing")
    if value[0] in _QUOTES:
        if len(value) < 2 or value[-1] != value[0] or value[0] in value[1:-1]:
            raise SpecError(f"bad component {text!r}: the quotes around {value} do not match")
        return value[1:-1], True
    return value, False


def _split(text: str, separator: str, whole: str) -> Iterator[str]:
    """Split at a separator outside quotes; quotes may open at the start of a value only."""
    piece, quote = "", ""
    for char in text:
        if quote:
            quote = "" if char == quote else quote
        elif char in _QUOTES and (not piece.strip() or piece.rstrip()[-1] in "=:,+"):
            quote = char
        elif char == separator:
            yield piece
            piece = ""
            continue
        piece += char
    if quote:
        raise SpecError(f"bad component {whole!r}: a {quote} is not closed")
    yield piece


def format_part(name: str, parameters: Mapping[str, Any], positional: str | None = None) -> str:
    """Return a part as text, its parameters sorted.

    Args:
        name: Of the component.
        parameters: The values to write.
        positional: The parameter that stands first, without its key.

    Example:
        >>> format_part("pgd", {"steps": 10, "objective": "mse"})
        'pgd:objective=mse,steps=10'
        >>> format_part("pyiqa", {"metric": "musiq", "worst": 1.0}, "metric")
        'pyiqa:musiq,worst=1'
    """
    if not parameters:
        return name
    keys = sorted(parameters, key=lambda key: (key != positional, key))
    pairs = (_pair(key, parameters[key], bare=key == positional) for key in keys)
    return f"{name}:{','.join(pairs)}"


def _pair(key: str, value: Any, *, bare: bool) -> str:
    text = format_value(value)
    # Without its key, what is before a '=' would be taken for one.
    return text if bare and ("=" not in text or text[0] in _QUOTES) else f"{key}={text}"


def format_value(value: Any) -> str:
    """Return a parameter's value as the grammar writes it, quoted where it must be."""
    if value is None or isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, float):
        return repr(value).removesuffix(".0").replace("e+", "e")
    text = str(value)
    ambiguous = not text or text != text.strip() or text.lower() in ("none", "true", "false")
    if ambiguous or any(c in text for c in ",+'\""):
        quote = "'" if "'" not in text else '"'
        if quote in text:
            raise SpecError(f"the value {text!r} holds both kinds of quotes and cannot be written")
        return f"{quote}{text}{quote}"
    return text
