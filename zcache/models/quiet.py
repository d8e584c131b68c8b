"""Keep the libraries' progress bars, and their warnings that quote prompts, out of logs."""

from __future__ import annotations


def quieten() -> None:
    """Switch off the loading bars and warnings of diffusers and transformers in this process."""
    from diffusers.utils import logging as diffusers_logging
    from transformers.utils import logging as transformers_logging

    for library in (diffusers_logging, transformers_logging):
        library.set_verbosity_error()
        library.disable_progress_bar()
