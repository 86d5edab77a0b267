"""How the command line says what is wrong."""

from __future__ import annotations

import sys


def print_error(message: str) -> None:
    """Write an error to standard error, in one line."""
    sys.stderr.write(f"iqabench: {' '.join(message.split())}\n")
