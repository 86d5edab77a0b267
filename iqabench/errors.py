"""Everything iqabench raises on purpose.

IqabenchError
  UsageError            exit 2: the user asked for something that cannot be
    UnknownNameError      no component of that kind has that name
    AmbiguousNameError    two installed distributions claim that name
    SpecError             a component string does not follow the grammar
    ParamError            a component does not take that parameter or value
    ConfigError           benchmark.yaml or a flag holds something that is not allowed
    IncompatibleError     a defense and a backbone (or two wrappers) make no sense together
    DataError             images or labels are missing, unreadable or wrong
      UnreadableImagesError   images cannot be decoded, all of them named
    WeightsError          a weights file or checkpoint cannot be used
    DeviceError           the requested device is not there
    MissingExtraError     a component needs an optional package that is not installed
    OutputError           a folder cannot be written, or another process is using it
    ResultsError          a result file is missing, damaged, or of another schema
  PluginLoadError       exit 1: a component is registered, but its module does not import
  CellError             exit 1: a cell could not be computed
    BudgetError           an attack left the epsilon ball or the pixel range
    SelfCheckError        an attack at eps 0 did not give the clean scores back
      VoidLookError           what an attack saw first is not the clean score, so it is not taken
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Sequence


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """Return " Did you mean 'x'?" for the closest known name, or nothing."""
    names = {k.casefold(): k for k in known}
    close = [names[c] for c in difflib.get_close_matches(name.casefold(), list(names), n=1)]
    return f" Did you mean {close[0]!r}?" if close else ""


def quoted(texts: Sequence[str], *, limit: int = 10) -> str:
    """Return the first texts in quotes for a message of one line, each cut to 60 characters."""
    shown = [text if len(text) <= 60 else f"{text[:57]}..." for text in map(str, texts[:limit])]
    return ", ".join(map(repr, shown)) + (", ..." if len(texts) > limit else "")


class IqabenchError(Exception):
    """Base of every deliberate error; ``exit_code`` is what the command line returns."""

    exit_code = 1


class UsageError(IqabenchError):
    """The request itself is wrong."""

    exit_code = 2


class UnknownNameError(UsageError, LookupError):
    """Nothing of that kind has that name."""

    @classmethod
    def of(cls, kind: str, name: str, known: Iterable[str], note: str = "") -> UnknownNameError:
        """Return the error with a suggestion and the known names."""
        names = sorted(known)
        listed = ", ".join(names) or "none"
        hint = did_you_mean(name, names)
        return cls(f"unknown {kind} {quoted([name])}.{hint} There are: {listed}.{note}")


class AmbiguousNameError(UsageError):
    """Two installed distributions claim that name."""


class SpecError(UsageError, ValueError):
    """A component string does not follow the grammar."""


class ParamError(UsageError, ValueError):
    """A component does not take that parameter or value."""


class ConfigError(UsageError, ValueError):
    """``benchmark.yaml`` or a flag holds something that is not allowed."""


class IncompatibleError(UsageError):
    """A defense and a backbone, or two parts of a chain, make no sense together."""


class DataError(UsageError):
    """Images or labels are missing, unreadable or wrong."""


class UnreadableImagesError(DataError):
    """Some image files cannot be read; the message names them.

    Attributes:
        failures: Path and reason of each.
        total: How many were looked at.
    """

    def __init__(self, failures: Sequence[str], total: int) -> None:
        shown = "; ".join(failures[:10]) + ("; ..." if len(failures) > 10 else "")
        super().__init__(f"{len(failures)} of {total} images cannot be read: {shown}")
        self.failures = list(failures)
        self.total = total


class WeightsError(UsageError):
    """A weights file or a checkpoint cannot be used."""


class DeviceError(UsageError):
    """The requested device is not there."""


class MissingExtraError(UsageError):
    """A component needs an optional package that is not installed."""


class OutputError(UsageError):
    """A folder cannot be written, or another process is using it."""


class ResultsError(UsageError):
    """A result file is missing, damaged, or of another schema."""


class PluginLoadError(IqabenchError):
    """A registered component's module does not import."""


class CellError(IqabenchError):
    """A cell could not be computed."""


class BudgetError(CellError):
    """An attack left the epsilon ball or the pixel range."""


class SelfCheckError(CellError):
    """An attack at eps 0 did not give the clean scores back."""


class VoidLookError(SelfCheckError):
    """What an attack saw of the clean images first is not, to the last bit, their clean score."""


def one_line(error: Exception) -> str:
    """Return what went wrong in one line; where it is no ``CellError``, with its type."""
    text = str(error) if isinstance(error, CellError) else f"{type(error).__name__}: {error}"
    return " ".join(text.split())
