"""What the scripts of a page read: curves, and the images of every cell, as one JSON document."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from iqabench.leaderboard.curves import DARK, LIGHT, Point, Theme, panels
from iqabench.leaderboard.defense_pages import Page, page_ids
from iqabench.leaderboard.drilldown import DIGITS, MOS_BINS, Damaged
from iqabench.leaderboard.load import Board, Group
from iqabench.leaderboard.pictures import Album

SCHEMA = 1


def document(
    board: Board, pages: Sequence[Page], images: Sequence[Damaged], album: Album
) -> dict[str, Any]:
    """Return everything that is drawn or listed by scripts rather than written into the page."""
    ids = page_ids(board)
    return {
        "schema": SCHEMA,
        "digits": DIGITS,
        "mos_bins": MOS_BINS,
        "themes": {"light": _theme(LIGHT), "dark": _theme(DARK)},
        "groups": [
            _group(group, found, ids) for group, found in zip(board.groups, images, strict=True)
        ],
        "losses": {
            part.id: [round(loss, 6) for loss in part.card.losses]
            for page in pages
            for part in page.parts
            if part.card and part.card.losses
        },
        "pictures": album.uris,
    }


def _group(group: Group, images: Damaged, ids: dict[str, str]) -> dict[str, Any]:
    return {
        "slug": group.slug,
        "title": group.title,
        "attacks": list(group.attacks.values()),
        "entries": [
            {
                "label": entry.label,
                "page": ids[str(entry.identity["defense"]["spec"])],
                "reference": entry.is_reference,
            }
            for entry in group.entries
        ],
        "panels": [
            {
                "title": panel.title,
                "curves": [[_point(point) for point in curve] for curve in panel.curves],
            }
            for panel in panels(group)
        ],
        "images": {
            "ids": images.ids,
            "mos": images.mos,
            "cells": [cell.to_json() for cell in images.cells],
        },
    }


def _point(point: Point) -> list[float | int | None]:
    """Return eps, SROCC, its interval, and whether the attack is too weak."""
    srocc = point.srocc
    found = (srocc.value, srocc.low, srocc.high)
    return [
        point.eps_255,
        *(None if value is None else round(value, 4) for value in found),
        int(point.too_weak),
    ]


def _theme(theme: Theme) -> dict[str, Any]:
    return {"lines": theme.lines, "reference": theme.reference} | {
        name: getattr(theme, name) for name in ("paper", "ink", "faint", "grid")
    }
