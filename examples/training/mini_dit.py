"""The parts of mini-dit: DiT-XL/2's classes at toy width, and a folder in its Hub format."""

import copy
from pathlib import Path

import torch
from diffusers import AutoencoderKL, DDIMScheduler, DiTPipeline, DiTTransformer2DModel

from zcache.models.mini import classes

NULL_CLASS = 1000  # `DiTPipeline` takes this row for "no class", whatever the number of classes
WEIGHTS_BYTES = "9MB"


def autoencoder(vae: AutoencoderKL, pictures: torch.Tensor) -> AutoencoderKL:
    """Gives an autoencoder the 1x1 convolutions that standardise the latents of `pictures`.

    DiTPipeline knows a scaling factor and no shift. Stable Diffusion's autoencoder, which DiT-XL/2
    uses, has a convolution after the encoder and one before the decoder: here they subtract each
    channel's mean and divide by its deviation, and undo it. The scaling factor is then 1.
    """
    channels = vae.config.latent_channels
    config = dict(vae.config) | {
        "use_quant_conv": True,
        "use_post_quant_conv": True,
        "scaling_factor": 1.0,
        "shift_factor": None,
    }
    standard = AutoencoderKL.from_config(config)
    standard.load_state_dict(vae.state_dict(), strict=False)
    with torch.no_grad():
        latents = torch.cat([vae.encode(some).latent_dist.mode() for some in pictures.split(16)])
        mean, deviation = latents.mean(dim=(0, 2, 3)), latents.std(dim=(0, 2, 3))
        _diagonal(
            standard.quant_conv,
            torch.cat([1 / deviation, torch.ones(channels)]),
            torch.cat([-mean / deviation, -2 * deviation.log()]),
        )
        _diagonal(standard.post_quant_conv, deviation, mean)
    return standard.eval()


def transformer(
    latent_channels: int, sample_size: int, layers: int, heads: int
) -> DiTTransformer2DModel:
    """Builds the transformer with half-open gates and a zero output: it starts as a calm map.

    As in DiT-XL/2 the output has a second half, the variance; DDIM never reads it and it stays 0.
    """
    model = DiTTransformer2DModel(
        num_attention_heads=heads,
        attention_head_dim=32,
        in_channels=latent_channels,
        out_channels=2 * latent_channels,
        num_layers=layers,
        sample_size=sample_size,
        patch_size=2,
        num_embeds_ada_norm=NULL_CLASS,
    )
    for block in model.transformer_blocks:
        torch.nn.init.zeros_(block.norm1.linear.weight)
        torch.nn.init.zeros_(block.norm1.linear.bias)
        for gate in block.norm1.linear.bias.data.view(6, -1)[2::3]:
            gate.fill_(0.5)
        torch.nn.init.normal_(block.norm1.emb.class_embedder.embedding_table.weight, std=0.3)
    for layer in (model.proj_out_1, model.proj_out_2):
        torch.nn.init.zeros_(layer.weight)
        torch.nn.init.zeros_(layer.bias)
    return model


def scheduler() -> DDIMScheduler:
    """Builds DiT-XL/2's scheduler."""
    return DDIMScheduler(
        num_train_timesteps=1000,
        beta_start=0.0001,
        beta_end=0.02,
        beta_schedule="linear",
        clip_sample=False,
        set_alpha_to_one=True,
        steps_offset=0,
        prediction_type="epsilon",
    )


def save(
    folder: Path,
    vae: AutoencoderKL,
    model: DiTTransformer2DModel,
    labels: tuple[str, ...] = classes.LABELS,
) -> None:
    """Writes the pipeline in half precision; the unused rows of the class tables are cleared."""
    half = copy.deepcopy(model).half()
    for block in half.transformer_blocks:
        block.norm1.emb.class_embedder.embedding_table.weight.data[len(labels) : -1] = 0
    pipe = DiTPipeline(
        transformer=half,
        vae=copy.deepcopy(vae).half(),
        scheduler=scheduler(),
    )
    pipe.register_to_config(id2label={str(i): label for i, label in enumerate(labels)})
    pipe.save_pretrained(folder, max_shard_size=WEIGHTS_BYTES)


def _diagonal(convolution: torch.nn.Conv2d, scale: torch.Tensor, shift: torch.Tensor) -> None:
    convolution.weight.copy_(torch.diag(scale)[:, :, None, None])
    convolution.bias.copy_(shift)
