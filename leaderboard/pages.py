"""What all pages share: templates, style, escaping."""

from __future__ import annotations

import re

import jinja2
from markupsafe import Markup


def environment() -> jinja2.Environment:
    """Return the templates of this package; every label is escaped, for others wrote it."""
    made = jinja2.Environment(
        loader=jinja2.PackageLoader("iqabench.leaderboard"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=False,
    )
    made.filters["breakable"] = breakable
    return made


def breakable(text: str) -> Markup:
    """Escape a spec or label and let it wrap after its punctuation rather than anywhere."""
    return Markup("<wbr>").join(re.split(r"(?<=[:,=_+/])", text))
