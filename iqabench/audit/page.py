"""The page of an audit: one file that needs no network."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from iqabench.leaderboard.pages import environment

TEMPLATE = "audit.html.j2"
MEANINGS = {
    "no signal": "its clean scores say too little about quality to be worth defending",
    "not robust": "a plain attack on its own gradient beats it as it beats the undefended network",
    "masked": "it stands up to a plain attack, and falls to attacks adapted to it",
    "holds": "it stands up to the whole suite at this eps, as far as these images can tell",
    "inconclusive": "neither clearly lost nor clearly kept; more images or steps may decide",
}


def to_html(document: Mapping[str, Any]) -> str:
    """Return the page of a record."""
    return environment().get_template(TEMPLATE).render(audit=document, meanings=MEANINGS)
