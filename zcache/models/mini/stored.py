"""Weights of the small networks that tell what an embedded model's pictures show."""

from importlib import resources
from typing import TypeVar

from safetensors.torch import load
from torch import nn

Network = TypeVar("Network", bound=nn.Module)


def filled(network: Network, name: str) -> Network:
    """Give a network its weights, shipped in half precision as `name`, ready to judge."""
    weights = load((resources.files("zcache") / "data" / name).read_bytes())
    network.load_state_dict({key: tensor.float() for key, tensor in weights.items()})
    return network.eval()
