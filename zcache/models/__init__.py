"""Which models there are, where they come from, and what may be asked of them."""
