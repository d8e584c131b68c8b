"""Z-Cache on a page: plain and accelerated picture side by side, with the measured speedup."""

import spaces  # noqa: F401  ZeroGPU needs it imported before torch

from zcache.app import build_demo, launch_options
from zcache.app.leftovers import end_tidily

demo = build_demo()

if __name__ == "__main__":
    end_tidily()
    demo.launch(**launch_options())
