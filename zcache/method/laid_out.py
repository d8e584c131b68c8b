"""Plain values as JSON that can be read and compared line by line."""

from __future__ import annotations

import json
from typing import Any


def compact(value: Any, indent: int = 0) -> str:
    """Return plain values as indented JSON, a list of numbers or words in one line."""
    inside, pad = " " * (indent + 2), " " * indent
    if isinstance(value, dict) and value:
        rows = [f"{inside}{json.dumps(k)}: {compact(v, indent + 2)}" for k, v in value.items()]
        return "{\n" + ",\n".join(rows) + f"\n{pad}}}"
    if isinstance(value, list | tuple) and any(isinstance(one, dict | list) for one in value):
        rows = [f"{inside}{compact(one, indent + 2)}" for one in value]
        return "[\n" + ",\n".join(rows) + f"\n{pad}]"
    return json.dumps(value)
