"""How the page looks, and the limits it is served with."""

from __future__ import annotations

from importlib import resources
from importlib.util import find_spec
from typing import Any

import gradio as gr
from starlette.middleware import Middleware

from .guard import Guard

# Gradio confines `css` to the inside of the page; the page's own margins are set from the head.
MARGINS = (
    "<style>@media (max-width: 560px) { .main.app { padding: 12px !important; } "
    ".tab-container button { padding: 0 7px !important; font-size: 14px !important; } "
    ".gradio-container { overflow: clip !important; } }"  # clipped, what is sticky still sticks
    "footer .divider { display: none !important; }</style>"
)

SESSIONS = 200  # whose state gradio keeps, about 0.4 MB each


def launch_options() -> dict[str, Any]:
    """Return the keyword arguments for `demo.launch`: looks, limits, and nothing that leaves this
    host. Where gradio's `mcp` extra is installed, the endpoints are tools of an MCP server, too."""
    return {
        "theme": _theme(),
        "css": _text("style.css"),
        "head": f"{MARGINS}<script>{_text('players.js')}</script>",
        "footer_links": ["api"],
        "max_file_size": "1kb",
        "state_session_capacity": SESSIONS,
        "enable_monitoring": False,
        "app_kwargs": {"middleware": [Middleware(Guard)]},
        "show_error": False,
        "ssr_mode": False,
        "mcp_server": find_spec("mcp") is not None,
    }


def _text(name: str) -> str:
    return (resources.files("zcache.app") / name).read_text(encoding="utf-8")


def _theme() -> gr.themes.Base:
    """Return the default theme with the system's fonts, text and buttons dark enough to read."""
    theme = gr.themes.Default(
        primary_hue="indigo",
        font=["system-ui", "sans-serif"],
        font_mono=["ui-monospace", "monospace"],
    )
    return theme.set(
        body_text_color_subdued="*neutral_600",
        body_text_color_subdued_dark="*neutral_300",
        button_primary_background_fill="*primary_700",
        button_primary_background_fill_hover="*primary_800",
        button_primary_background_fill_dark="*primary_700",
        button_primary_background_fill_hover_dark="*primary_600",
        button_cancel_background_fill="*neutral_100",
        button_cancel_background_fill_hover="*neutral_200",
        button_cancel_background_fill_dark="*neutral_700",
        button_cancel_background_fill_hover_dark="*neutral_600",
        button_cancel_text_color="#b91c1c",
        button_cancel_text_color_dark="#fecaca",
        checkbox_border_color="*neutral_500",
        checkbox_border_color_dark="*neutral_400",
        block_info_text_size="0.875rem",
        block_info_text_color="*neutral_600",
        block_info_text_color_dark="*neutral_300",
    )
