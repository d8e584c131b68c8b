"""How a text of a visitor's is shown where there is not room for all of it."""

from __future__ import annotations

from ..models.request import TURNING

DOTS = "…"


def cut(text: str, most: int) -> str:
    """Return a text on one line, of at most so many characters: cut between words where that leaves half of them,
    else within one; without what turns the direction of the line, which may not have been checked yet."""
    line = " ".join("".join(c for c in text if c not in TURNING).split())
    if len(line) <= most:
        return line
    head = line[: most - 1]
    words = head if line[most - 1] == " " else head.rpartition(" ")[0]
    return (words if len(words) > most // 2 else head).rstrip() + DOTS
