"""What is drawn while tuning: prompts, class labels or pipeline arguments, each with its own seed."""

from __future__ import annotations

import inspect
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch

from ...errors import ConfigError, UnsupportedPipelineError

DRAWN = "frames", "images", "audios"  # as outputs call it
OUTPUTS = (
    "np",
    "pt",
    "pil",
    "latent",
)  # the types that may be asked for; pictures are drawn as the first


def calls(pipe: Any, prompts: Sequence[Any], shared: Mapping[str, Any]) -> list[dict[str, Any]]:
    """One pipeline call for each prompt: a string, a class label, or a mapping of call arguments.

    Raises:
        ConfigError: a prompt of another kind, or an argument that the pipeline's call has not, or no output that
            can be compared.
    """
    asked = [_comparable({**shared, **_subject(prompt)}) for prompt in prompts]
    taken = inspect.signature(type(pipe).__call__).parameters
    for name in dict.fromkeys(name for call in asked for name in call):
        if name not in taken and not any(one.kind is one.VAR_KEYWORD for one in taken.values()):
            listed = ", ".join(name for name in taken if name != "self")
            raise ConfigError(f"{type(pipe).__name__} takes no {name!r}; its call takes {listed}")
    return asked


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


def _comparable(call: dict[str, Any]) -> dict[str, Any]:
    """The call with an output that is numbers, and has a name: pictures in [0, 1], or latents."""
    call.pop("return_dict", None)
    asked = call.get("output_type", "np")
    if asked not in OUTPUTS:
        raise ConfigError(f"output_type is {asked!r}; give one of: {', '.join(OUTPUTS)}")
    if asked != "latent" and "output_type" in call:
        call["output_type"] = "np"
    return call


def batches(
    calls: Sequence[Mapping[str, Any]], size: int, first_alone: bool = False
) -> list[range]:
    """Which calls one pipeline call draws together: neighbours that differ in their prompt or class only.

    A call with anything but plain values beside the prompt is alone: only these mean the same to one picture
    and to several. A batch ends before every multiple of `size`.
    """
    found = [range(1)]
    for index in range(1, len(calls)):
        start, alone = found[-1].start, first_alone and index == 1
        if index % size and not alone and _kin(calls[start], calls[index]):
            found[-1] = range(start, index + 1)
        else:
            found.append(range(index, index + 1))
    return found


def _kin(one: Mapping[str, Any], other: Mapping[str, Any]) -> bool:
    (shared, subject), (others, another) = _parted(one), _parted(other)
    if not all(isinstance(value, str | int | float | None) for value in shared.values()):
        return False
    several = any(value != 1 for name, value in shared.items() if name.endswith("_per_prompt"))
    return bool(subject and another and not several and shared == others)


def _parted(call: Mapping[str, Any]) -> tuple[dict[str, Any], list[Any]]:
    """The arguments without the subject, and the subject as a list, empty where it is of another kind."""
    shared = dict(call)
    subject = shared.pop("class_labels" if "class_labels" in shared else "prompt", None)
    if isinstance(subject, str):
        return shared, [subject]
    return shared, subject if isinstance(subject, list) else []


def draw(pipe: Any, calls: Sequence[Mapping[str, Any]], seed: int) -> list[np.ndarray]:
    """The output of each call: pictures or frames (1, ...) in [0, 1], or sound (1, ...), or the latents where the
    calls ask for these.

    Args:
        calls: one, or several that `batches` puts together: one call of the pipeline.
        seed: of the first call's noise; each later one has the next.

    Raises:
        UnsupportedPipelineError: the output is none of these.
    """
    arguments = {"output_type": "np", **calls[0]}
    generator = arguments.get("generator")
    if isinstance(generator, torch.Generator):
        arguments["generator"] = generator.clone_state()  # the call's own stays where it is
    elif isinstance(generator, list):
        arguments["generator"] = [each.clone_state() for each in generator]
    elif generator is None:
        made = [torch.Generator("cpu").manual_seed(seed + row) for row in range(len(calls))]
        arguments["generator"] = made if len(calls) > 1 else made[0]
    if len(calls) > 1:
        name = "class_labels" if "class_labels" in arguments else "prompt"
        arguments[name] = [one for call in calls for one in _parted(call)[1]]
    output = pipe(**arguments)
    drawn = next((getattr(output, name) for name in DRAWN if hasattr(output, name)), None)
    if drawn is None:
        raise UnsupportedPipelineError(
            f"{type(pipe).__name__} returns {type(output).__name__}, and what is compared is its "
            f"{' or '.join(DRAWN)}; use a pipeline that gives one of them"
        )
    pictures = drawn.float().cpu().numpy() if torch.is_tensor(drawn) else np.asarray(drawn)
    return [pictures] if len(calls) == 1 else list(pictures[:, None])
