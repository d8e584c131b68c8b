"""Teaches text encoders which words belong together, as pretraining on text does for large ones.

`Grounding` is a set of linear heads that are thrown away after training: every token has to tell
what it is about, the pooled text what is in the whole caption. `scene_grounding.py` makes the targets
for mini-flux, `motion_grounding.py` for mini-hunyuan.
"""

import copy
import logging

import torch
from torch import nn

logger = logging.getLogger("grounding")

IGNORED = -100


class Grounding(nn.Module):
    """Heads on both encoders, and the targets of every caption.

    Args:
        width: of the states and of the pooled text.
        token_sizes: number of classes of each head on a token.
        pooled_sizes: number of classes of each head on the pooled text.
        tokens: target classes, one row per caption, token and head; IGNORED where there is none.
        pooled: target classes, one row per caption and head.
    """

    def __init__(
        self,
        width: int,
        token_sizes: list[int],
        pooled_sizes: list[int],
        tokens: list[list[list[int]]],
        pooled: list[list[int]],
    ) -> None:
        super().__init__()
        self.token_heads = nn.ModuleList(nn.Linear(width, size) for size in token_sizes)
        self.pooled_heads = nn.ModuleList(nn.Linear(width, size) for size in pooled_sizes)
        # The last row is the empty caption.
        tokens = [*tokens, [[IGNORED] * len(token_sizes)] * len(tokens[0])]
        pooled = [*pooled, [IGNORED] * len(pooled_sizes)]
        self.register_buffer("tokens", torch.tensor(tokens), persistent=False)
        self.register_buffer("pooled", torch.tensor(pooled), persistent=False)

    def forward(
        self, pooled: torch.Tensor, states: torch.Tensor, rows: torch.Tensor
    ) -> torch.Tensor:
        """Mean cross-entropy of all heads; `pooled` (B, D), `states` (B, L, D), `rows` the captions' indices."""
        losses = [
            _entropy(head(states), self.tokens[rows][..., index])
            for index, head in enumerate(self.token_heads)
        ]
        losses += [
            _entropy(head(pooled), self.pooled[rows][..., index])
            for index, head in enumerate(self.pooled_heads)
        ]
        return torch.stack(losses).mean()


def learn_to_read(
    flow: nn.Module, grounding: Grounding, captions: object, count: int, steps: int
) -> None:
    """Trains both encoders on text alone; what they said before is kept as near as can be.

    `flow.read(*captions[rows])` gives the pooled text and the states; `count` captions are known.
    """
    encoders = [*flow.text_encoder.parameters(), *flow.text_encoder_2.parameters()]
    learnt = [weight for weight in encoders if weight.requires_grad]
    stepper = torch.optim.AdamW([*learnt, *grounding.parameters()], lr=2e-3, betas=(0.9, 0.98))
    before = copy.deepcopy(flow).requires_grad_(False)
    for step in range(steps):
        stepper.param_groups[0]["lr"] = 2e-3 * min(1.0, (step + 1) / 50, 4 * (1 - step / steps))
        rows = torch.randint(count, (64,))
        pooled, states = flow.read(*captions[rows])
        with torch.no_grad():
            old_pooled, old_states = before.read(*captions[rows])
        drift = (pooled - old_pooled).square().mean() + (states - old_states).square().mean()
        loss = grounding(pooled, states, rows)
        (loss + 0.1 * drift).backward()
        stepper.step()
        stepper.zero_grad()
        if step % 100 == 0 or step == steps - 1:
            logger.info("reading %d  loss %.4f  drift %.4f", step, loss.item(), drift.item())


def _entropy(scores: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    flat = targets.flatten()
    total = nn.functional.cross_entropy(
        scores.float().flatten(0, -2), flat, ignore_index=IGNORED, reduction="sum"
    )
    return total / (flat != IGNORED).sum().clamp_min(1)
