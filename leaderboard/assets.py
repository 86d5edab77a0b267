"""Styles and scripts that are written into a page, and the policy that allows no others."""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Iterable
from importlib import resources

from markupsafe import Markup

VENDORED = ("vendor/dataTables.min.js", "vendor/uPlot.iife.min.js")
OWN = tuple(f"assets/{name}.js" for name in ("report", "tables", "curves", "images", "routes"))
VENDORED_STYLE = "vendor/uPlot.min.css"


def scripts() -> list[Markup]:
    """Return the page's scripts in the order in which they must run."""
    return [Markup(read(name)) for name in (*VENDORED, *OWN)]


def read(name: str) -> str:
    """Return a text file of this package."""
    return resources.files("iqabench.leaderboard").joinpath(name).read_text(encoding="utf-8")


def policy(texts: Iterable[str], style: str) -> str:
    """Return a content security policy: these scripts, this style, pictures in the page."""
    allowed = " ".join(_source(text) for text in texts)
    return (
        f"default-src 'none'; script-src {allowed}; style-src {_source(style)}; img-src data:; "
        "base-uri 'none'; form-action 'none'"
    )


def embedded_json(document: object) -> Markup:
    r"""Return a JSON text that can stand in a script element, whatever strings it holds.

    Example:
        >>> str(embedded_json({"name": "</script>"}))
        '{"name":"\\u003c/script\\u003e"}'
    """
    text = json.dumps(document, sort_keys=True, separators=(",", ":"), allow_nan=False)
    for mark in "<>&":
        text = text.replace(mark, f"\\u{ord(mark):04x}")
    return Markup(text)


def _source(text: str) -> str:
    digest = hashlib.sha256(text.encode()).digest()
    return f"'sha256-{base64.b64encode(digest).decode('ascii')}'"
