"""Maps that are freed and made again cost no new pages under our rules."""

from __future__ import annotations

import os
import platform
import subprocess
import sys

import pytest

FAULTS = """
import resource, sys
import torch
from torch import nn
from iqabench.allocation import keep_freed_memory
if sys.argv[1] == "ours":
    keep_freed_memory()
torch.set_num_threads(1)
images = torch.zeros(32, 3, 128, 128)  # and maps of 67 MB and of 17
network = nn.Sequential(
    nn.Conv2d(3, 32, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(32, 32, 1), nn.ReLU()
)
for number in range(9):
    if number == 6:
        before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    with torch.no_grad():
        network(images)
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""
PAGES = 3 * (2 * 67_000_000 + 3 * 17_000_000) // 4096
"""What three passes write to."""


def faults(whose: str, **variables: str) -> int:
    command = [sys.executable, "-c", FAULTS, whose]
    clean = {k: v for k, v in os.environ.items() if not k.startswith(("MALLOC_", "GLIBC_"))}
    env = {**clean, **variables}
    done = subprocess.run(command, env=env, capture_output=True, text=True, check=True)
    return int(done.stdout)


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="the rules are those of glibc")
def test_freed_memory_is_used_again_unless_the_user_has_other_rules() -> None:
    assert faults("ours") < PAGES / 10
    if faults("usual") > PAGES / 4:  # else pages are large, and few anyway
        assert faults("ours", MALLOC_ARENA_MAX="2") > PAGES / 4
