"""How a text of a visitor's is shown where there is not room for all of it."""

from __future__ import annotations

DOTS = "…"


def cut(text: str, most: int) -> str:
    """Return a text on one line, of at most so many characters: between words where it can be, else within one."""
    line = " ".join(text.split())
    if len(line) <= most:
        return line
    head = line[: most - 1]
    words = head if line[most - 1] == " " else head.rpartition(" ")[0]
    return (words if len(words) > most // 2 else head).rstrip() + DOTS
