"""The page of a run, as a browser without scripts sees it."""

from __future__ import annotations

import json
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

from iqabench.leaderboard.html import to_html
from iqabench.leaderboard.load import load_board

VOID = {"meta", "img", "input", "br", "wbr", "link", "hr"}


class Page(HTMLParser):
    """Collect what a browser without scripts would see: tags, addresses, text, texts by id."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.addresses: list[str] = []
        self.identifiers: list[str] = []
        self.scripts: list[str] = []
        self.policy = ""
        self.style = ""
        self._open: list[tuple[str, str | None]] = []
        self._texts: dict[str, str] = {}
        self.text = ""
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        named = dict(attrs)
        self.tags.append(tag)
        addresses = ("src", "srcset", "href", "action", "data", "poster")
        self.addresses += [named[name] or "" for name in addresses if name in named]
        if named.get("http-equiv") == "Content-Security-Policy":
            self.policy = named["content"] or ""
        if named.get("id"):
            self.identifiers.append(str(named["id"]))
        if tag not in VOID:
            self._open.append((tag, named.get("id")))

    def handle_endtag(self, tag: str) -> None:
        assert self._open.pop()[0] == tag

    def handle_data(self, data: str) -> None:
        inside = self._open[-1][0] if self._open else ""
        if inside == "script":
            self.scripts.append(data)
            return
        if inside == "style":
            self.style += data
            return
        self.text += data
        for _, identifier in self._open:
            if identifier:
                self._texts[identifier] = self._texts.get(identifier, "") + f" {data}"

    def in_element(self, identifier: str) -> str:
        """Return the text of an element, with single spaces."""
        return " ".join(self._texts[identifier].split())

    @property
    def data(self) -> dict[str, Any]:
        """What the page's scripts read."""
        found: dict[str, Any] = json.loads(self.scripts[0])
        return found


def page_of(run: Path) -> Page:
    return Page(to_html(load_board(run)))
