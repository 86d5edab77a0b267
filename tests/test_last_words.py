"""A process that is ended past every handler leaves a line; one that ends by itself does not."""

from __future__ import annotations

import shutil
import subprocess
import sys

import pytest

PROGRAM = """
import os, signal, sys
from iqabench.distributed.last_words import last_words
with last_words("these were its $last 'words'"):
    {end}
"""


@pytest.mark.skipif(shutil.which("sh") is None, reason="there is no shell to speak")
@pytest.mark.parametrize(
    ("end", "code", "said"),
    [
        ("os._exit(1)", 1, True),
        ("os.kill(os.getpid(), signal.SIGKILL)", -9, True),
        ("pass", 0, False),
        ("sys.exit(3)", 3, False),
        ("raise KeyboardInterrupt", -2, False),
    ],
)
def test_last_words(end: str, code: int, said: bool) -> None:
    command = [sys.executable, "-c", PROGRAM.format(end=end)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == code
    assert ("these were its $last 'words'\n" in done.stderr) == said
    assert done.stdout == ""
