"""Named sets of attacks that are run together and judged by their worst.

A suite is a data file of this folder, and never changes: another set is another version. The name
without its version means the newest. What reads results can read suites; there is no torch here.
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from importlib import resources

import yaml

from iqabench.errors import SpecError
from iqabench.published.patterns import match

_VERSIONED = re.compile(r"(?P<name>[a-z_]+)-v(?P<version>\d+)")


@dataclass(frozen=True)
class Suite:
    """A set of attacks.

    Attributes:
        name: With its version, as ``standard-v1``.
        summary: One line.
        members: Component strings; what they leave out is at its default.
        roles: Members that an audit asks for by what they are there for.
        draws: Passes averaged for a stochastic defense; None leaves it to the benchmark.
    """

    name: str
    summary: str
    members: tuple[str, ...]
    roles: Mapping[str, str] = field(default_factory=dict)
    draws: int | None = None

    def is_within(self, attacks: Mapping[str, str]) -> bool:
        """Say whether every member is among some attacks, given as canonical specs and labels."""
        return all(find_member(member, attacks) is not None for member in self.members)


def find_member(member: str, attacks: Mapping[str, str]) -> str | None:
    """Return the canonical spec of the attack that a member is; None if there is none.

    Args:
        member: A component string; what it leaves out is at its default.
        attacks: Labels (only what differs from the defaults) by canonical spec.
    """
    for spec, label in attacks.items():
        with contextlib.suppress(SpecError):  # results may hold any text in place of a spec
            found = match(member, spec, label)
            if found is not None and not found.mismatches:
                return spec
    return None


@lru_cache
def suites() -> dict[str, Suite]:
    """Return every suite by its name with version, oldest version first."""
    found = []
    for item in resources.files("iqabench.suites").iterdir():
        name, _, ending = item.name.rpartition(".")
        if ending == "yaml":
            document = yaml.safe_load(item.read_text(encoding="utf-8"))
            found.append(Suite(name, **document | {"members": tuple(document["members"])}))
    return {suite.name: suite for suite in sorted(found, key=lambda s: _place(s.name))}


def find(text: str) -> Suite | None:
    """Return the suite of that name, the newest if no version is said; None if there is none.

    Raises:
        SpecError: It is given parameters, or a version that does not exist.
    """
    name = text.strip()
    newest = {_place(suite): suite for suite in suites()}
    names = {place[0]: suite for place, suite in newest.items()} | {s: s for s in suites()}
    if name in names:
        return suites()[names[name]]
    bare = name.partition(":")[0]
    if bare in names:
        raise SpecError(f"{text!r}: the suite {bare} takes no parameters; name attacks of your own")
    versioned = _VERSIONED.fullmatch(bare)
    if versioned and versioned["name"] in names:
        raise SpecError(f"suite {name!r} does not exist; there is {', '.join(suites())}")
    return None


def expand(texts: Iterable[str]) -> Iterator[str]:
    """Yield attacks, with the members of suites in place of their names.

    Raises:
        SpecError: See ``find``.
    """
    for text in texts:
        suite = find(text)
        yield from (text,) if suite is None else suite.members


def _place(name: str) -> tuple[str, int]:
    versioned = _VERSIONED.fullmatch(name)
    assert versioned is not None, f"a suite's file is named NAME-vN.yaml, not {name}"
    return versioned["name"], int(versioned["version"])
