"""One run measured: its seconds, its FLOPs, its likeness to the plain run, what it looked like on the way."""
