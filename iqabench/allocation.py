"""How the C library treats memory that was freed.

A network on a CPU takes and gives back maps of tens of megabytes in every pass. The usual rules
return each to the system and ask for it anew: about a fifteenth of a sweep goes into pages that are
zeroed and mapped again.
"""

from __future__ import annotations

import ctypes
import os
import platform
from dataclasses import dataclass

_TRIM_THRESHOLD, _MMAP_THRESHOLD, _MMAP_MAX = -1, -3, -4
"""Numbers of ``mallopt`` in malloc.h of glibc."""


@dataclass(frozen=True)
class Rules:
    """Settings of glibc's ``malloc``.

    Attributes:
        kept: Bytes that stay free at the top of the heap.
        mapped: Blocks at most that are mapped one by one, and unmapped when they are freed.
        smallest_mapped: Bytes from which a block is.
    """

    kept: int
    mapped: int
    smallest_mapped: int = 32 << 20

    def apply(self) -> bool:
        """Set them for this process; say whether that could be done (under glibc it can)."""
        if platform.libc_ver()[0] != "glibc":
            return False
        settings = (
            (_MMAP_THRESHOLD, self.smallest_mapped),
            (_TRIM_THRESHOLD, self.kept),
            (_MMAP_MAX, self.mapped),
        )
        mallopt = ctypes.CDLL(None).mallopt
        return [mallopt(name, value) for name, value in settings] == [1] * len(settings)


KEEPING = Rules(kept=1 << 30, mapped=0)
"""Freed maps are used again; at most a gibibyte stays with the process for nothing."""
USUAL = Rules(kept=64 << 20, mapped=1 << 16)
"""Where glibc's own rules end once large blocks were freed."""


def keep_freed_memory() -> None:
    """Use freed memory again, unless the environment has rules for ``malloc`` already."""
    if not any(name.startswith(("MALLOC_", "GLIBC_TUNABLES")) for name in os.environ):
        KEEPING.apply()
