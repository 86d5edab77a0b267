"""Component strings that leave open what a paper leaves open.

A *pattern* is a component string (docs/grammar.md) in which every argument has a key. A parameter
with a value must have that value; ``*`` as a value lets it be anything, and a leading ``*`` does so
for every parameter that is not named. What is not named otherwise must be at its default.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

from iqabench.errors import SpecError
from iqabench.specs import Part, parse

ANY = "*"


@dataclass(frozen=True)
class Mismatch:
    """A parameter that is not as the pattern wants it.

    Attributes:
        parameter: Its name.
        found: Its value as written in results; None if there is no such parameter.
        wanted: The pattern's value; None if the pattern does not name it, so wants the default.
    """

    parameter: str
    found: str | None
    wanted: str | None

    def __str__(self) -> str:
        found = "there is none" if self.found is None else f"is {self.found}"
        wanted = "its default" if self.wanted is None else self.wanted
        return f"{self.parameter} {found}, not {wanted}"


@dataclass(frozen=True)
class Match:
    """How a component fits a pattern whose names it has.

    Attributes:
        mismatches: Parameters that are not as wanted.
        left_open: ``parameter=value`` of those that the pattern lets be anything.
    """

    mismatches: tuple[Mismatch, ...]
    left_open: tuple[str, ...]

    @property
    def has_named(self) -> bool:
        """Whether every parameter with a value in the pattern has that value."""
        return all(mismatch.wanted is None for mismatch in self.mismatches)


def check_pattern(text: str) -> str:
    """Return the pattern unchanged.

    Raises:
        SpecError: Not a component string, or an argument has no key.

    Example:
        >>> check_pattern("pgd:*,objective=mse")
        'pgd:*,objective=mse'
    """
    for part in parse(text):
        for argument in part.arguments:
            if argument.key is None and argument.value != ANY:
                raise SpecError(
                    f"{text!r}: {argument.value!r} needs its key (NAME:key=value), or write '*'"
                )
    return text


# A page compares every cell with every published place, and few of the strings differ.
@lru_cache(maxsize=1 << 16)
def match(pattern: str, canonical: str, label: str) -> Match | None:
    """Compare a component of a result file with a pattern.

    Args:
        pattern: See the module's text.
        canonical: The component with every parameter filled in.
        label: The same with only what differs from the defaults.

    Returns:
        None where the names of the parts differ.

    Example:
        >>> found = match("cprl:b=0.40,pns=*", "cprl:axis=image,b=0.4,pns=true", "cprl:axis=image")
        >>> [str(m) for m in found.mismatches], found.left_open
        (['axis is image, not its default'], ('pns=true',))
    """
    wanted, found, changed = parse(pattern), parse(canonical), parse(label)
    if [part.name for part in wanted] != [part.name for part in found]:
        return None
    mismatches: list[Mismatch] = []
    left_open: list[str] = []
    for one, other, short in zip(wanted, found, changed, strict=True):
        _match_part(one, _values(other), _values(short), mismatches, left_open)
    return Match(tuple(mismatches), tuple(left_open))


def _match_part(
    wanted: Part,
    found: dict[str, str],
    changed: dict[str, str],
    mismatches: list[Mismatch],
    left_open: list[str],
) -> None:
    named = _values(wanted)
    rest_is_open = named.pop("", None) == ANY
    for key, value in named.items():
        if value == ANY:
            left_open += [f"{key}={found[key]}"] if key in found else []
        elif key not in found or not _same(value, found[key]):
            mismatches.append(Mismatch(key, found.get(key), value))
    for key, value in found.items():
        if key in named:
            continue
        if rest_is_open:
            left_open.append(f"{key}={value}")
        elif key in changed:
            mismatches.append(Mismatch(key, value, None))


def _values(part: Part) -> dict[str, str]:
    return {argument.key or "": argument.value for argument in part.arguments}


def _same(one: str, other: str) -> bool:
    try:
        return float(one) == float(other)
    except ValueError:
        return one.lower() == other.lower()
