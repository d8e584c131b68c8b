"""The Gradio app: one page that shows the plain and the accelerated side of a run beside each other.

`engine` holds the loaded models, `device` runs them, `runs` turns a request into files, `views` draws
the figures as HTML, `inputs` and `outputs` are the two columns of a `tab`, and `page` has one tab for
images, videos and classes. `app.py` at the repository's root starts it.
"""

from .page import build_demo
from .theme import launch_options

__all__ = ["build_demo", "launch_options"]
