"""The calls that tests of `tune` draw."""

import torch

from ... import pipelines

STEPS = 8


def prompts(count: int = 3) -> list[dict]:
    calls = []
    for seed in range(count):
        call = pipelines.flux_arguments(STEPS)
        call["prompt_embeds"] = torch.randn(1, 6, 32, generator=pipelines.seeded(seed))
        calls.append({name: value for name, value in call.items() if name != "generator"})
    return calls
