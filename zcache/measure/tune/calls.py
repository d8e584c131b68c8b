"""What is drawn while tuning: prompts, class labels or pipeline arguments, each with its own seed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch

from ...errors import ConfigError


def calls(pipe: Any, prompts: Sequence[Any], shared: Mapping[str, Any]) -> list[dict[str, Any]]:
    """One pipeline call for each prompt: a string, a class label, or a mapping of call arguments.

    Raises:
        ConfigError: no prompts, or one of another kind.
    """
    if isinstance(prompts, str) or not prompts:
        raise ConfigError(f"prompts is {prompts!r}; give a list of one or more prompts")
    return [{**shared, **_subject(prompt)} for prompt in prompts]


def _subject(prompt: Any) -> dict[str, Any]:
    if isinstance(prompt, Mapping):
        return dict(prompt)
    if isinstance(prompt, str):
        return {"prompt": prompt}
    if isinstance(prompt, int) and not isinstance(prompt, bool):
        return {"class_labels": [prompt]}
    raise ConfigError(
        f"a prompt is {prompt!r:.60}; give text, the number of a class, or a dict of call arguments"
    )


def draw(pipe: Any, call: Mapping[str, Any], seed: int) -> np.ndarray:
    """The output of one call: pictures in [0, 1], or the latents where the call asks for these."""
    arguments = {"output_type": "np", **call}
    generator = arguments.get("generator")
    if generator is None:
        arguments["generator"] = torch.Generator("cpu").manual_seed(seed)
    elif isinstance(generator, torch.Generator):
        arguments["generator"] = generator.clone_state()  # the call's own stays where it is
    output = pipe(**arguments)
    made = output.frames if hasattr(output, "frames") else output.images
    return made.float().cpu().numpy() if torch.is_tensor(made) else np.asarray(made)
