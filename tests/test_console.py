"""Messages and progress: bars on a terminal alone, a line for what took long elsewhere."""

from __future__ import annotations

import io

import pytest
from rich.console import Console

from iqabench.cli.console import ConsoleReporter
from iqabench.progress import counted


def reporter(*, terminal: bool) -> tuple[ConsoleReporter, io.StringIO]:
    text = io.StringIO()
    made = ConsoleReporter()
    made.console = Console(file=text, force_terminal=terminal, width=100, legacy_windows=False)
    return made, text


def test_a_bar_shows_how_far_it_is_and_is_gone_when_all_is_done() -> None:
    made, text = reporter(terminal=True)
    first, second = made.counter("decoding"), made.counter("training")
    first(1, 4)
    second(2, 3)
    assert made.progress is not None
    made.progress.refresh()
    assert "decoding" in text.getvalue()
    assert "1/4" in text.getvalue()
    first(4, 4)
    assert made.progress is not None
    second(3, 3)
    assert made.progress is None


def test_a_task_may_begin_again_and_outlive_the_bars() -> None:
    made, _ = reporter(terminal=True)
    count = made.counter("epochs")
    count(3, 3)
    count(1, 3)
    assert made.progress is not None
    made.close()
    count(2, 3)
    other = made.counter("other")
    other(1, 2)
    assert made.progress is not None
    assert [task.description for task in made.progress.tasks] == ["epochs", "other"]
    made.close()


def test_without_a_terminal_only_what_took_long_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    made, text = reporter(terminal=False)
    now = [0.0]
    monkeypatch.setattr("iqabench.cli.console.time.monotonic", lambda: now[0])
    quick, slow = made.counter("quick"), made.counter("slow")
    now[0] = 1.0
    quick(2, 2)
    slow(1, 2)
    now[0] = 9.0
    slow(2, 2)
    assert text.getvalue() == "slow: 9 s\n"


def test_a_message_is_said_once_and_a_warning_always() -> None:
    made, text = reporter(terminal=False)
    for _ in range(2):
        made.say("a [bracket]")
        made.warn("careful")
    assert text.getvalue() == "a [bracket]\nwarning: careful\nwarning: careful\n"


def test_a_step_of_many_parts_says_how_many_are_done() -> None:
    seen = []
    parts = list(counted("abc", lambda done, total: seen.append((done, total))))
    assert parts == ["a", "b", "c"]
    assert seen == [(1, 3), (2, 3), (3, 3)]
