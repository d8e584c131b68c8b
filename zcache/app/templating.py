"""HTML from the templates beside this file; what is put into them is escaped."""

from __future__ import annotations

from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined

_templates = Environment(
    loader=PackageLoader("zcache.app"), autoescape=True, undefined=StrictUndefined
)


def html(name: str, /, **values: Any) -> str:
    """Return the template `name` filled with `values`."""
    return _templates.get_template(f"{name}.html").render(values)
