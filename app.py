"""Z-Cache on a page: plain and accelerated picture side by side, with the measured speedup."""

import spaces  # noqa: F401  ZeroGPU needs it imported before torch

from zcache.app import build_demo, launch_options

demo = build_demo()

if __name__ == "__main__":
    demo.launch(**launch_options())
