"""The Gradio app: one page that shows the plain and the accelerated picture side by side.

`engine` holds the loaded model, `device` runs it, `run` turns a request into files, `views`
draws the figures as HTML, and `page` lays it all out. `app.py` at the repository's root starts
it.
"""

from .looks import launch_options
from .page import build_demo

__all__ = ["build_demo", "launch_options"]
