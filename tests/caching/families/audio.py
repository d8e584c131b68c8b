"""Sounds: Stable Audio, ACE-Step, LongCat."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import diffusers as d
import torch
from diffusers.pipelines.stable_audio import StableAudioProjectionModel
from diffusers.pipelines.stable_audio_3 import StableAudio3DurationEmbedder

from ...pipelines import seeded
from .family import TEXT, Family, assembled, flow, made, noise, prompts


def oobleck() -> Any:
    return made(
        d.AutoencoderOobleck,
        encoder_hidden_size=6,
        downsampling_ratios=[1, 2],
        decoder_channels=3,
        decoder_input_channels=4,
        audio_channels=2,
        channel_multiples=[2, 4],
        sampling_rate=4,
    )


def stable_audio() -> Any:
    transformer = made(
        d.StableAudioDiTModel,
        sample_size=12,
        in_channels=4,
        num_layers=2,
        attention_head_dim=8,
        num_attention_heads=2,
        num_key_value_attention_heads=2,
        out_channels=4,
        cross_attention_dim=16,
        time_proj_dim=8,
        global_states_input_dim=16,
        cross_attention_input_dim=8,
    )
    projection = made(
        StableAudioProjectionModel,
        text_encoder_dim=8,
        conditioning_dim=8,
        min_value=0,
        max_value=32,
    )
    scheduler = d.EDMDPMSolverMultistepScheduler(
        sigma_min=0.3,
        sigma_max=50,
        sigma_data=1.0,
        sigma_schedule="exponential",
        algorithm_type="sde-dpmsolver++",
        prediction_type="v_prediction",
    )
    return assembled(
        d.StableAudioPipeline, transformer, scheduler, vae=oobleck(), projection_model=projection
    )


def stable_audio_arguments(**more: Any) -> dict[str, Any]:
    return prompts(8, **{"guidance_scale": 3.0, "output_type": "pt", **more})


def stable_audio3(**config: Any) -> Any:
    transformer = made(
        d.StableAudio3DiTModel,
        io_channels=4,
        embed_dim=16,
        depth=2,
        num_heads=2,
        cond_token_dim=8,
        global_cond_dim=8,
        local_add_cond_dim=5,
        timestep_features_dim=8,
        ff_mult=2.0,
        num_memory_tokens=2,
    )
    duration = made(StableAudio3DurationEmbedder, output_dim=8, fourier_dim=8)
    pipe = assembled(
        d.StableAudio3Pipeline, transformer, flow(1.0, **config), duration_embedder=duration
    )
    config = SimpleNamespace(sampling_rate=4, latent_dim=4)
    pipe.vae = SimpleNamespace(config=config, downsampling_ratio=1)
    return pipe


def stable_audio3_arguments(**more: Any) -> dict[str, Any]:
    return prompts(8, **{"guidance_scale": 3.0, "duration": 3.0, **more})


class Conditions:
    """ACE-Step's condition encoder: the prompt as it is, and what stands for none."""

    silence_latent = torch.zeros(1, 8, 4)
    null_condition_emb = torch.zeros(1, 1, 16)

    def __call__(self, text_hidden_states: torch.Tensor, **_: Any) -> Any:
        return text_hidden_states, None


def ace_step(**config: Any) -> Any:
    transformer = made(
        d.AceStepTransformer1DModel,
        hidden_size=16,
        intermediate_size=32,
        num_hidden_layers=2,
        num_attention_heads=2,
        num_key_value_heads=1,
        head_dim=8,
        in_channels=12,
        audio_acoustic_hidden_dim=4,
        sliding_window=4,
        **config,
    )
    scheduler = flow(1.0, num_train_timesteps=1)
    pipe = assembled(d.AceStepPipeline, transformer, scheduler, vae=oobleck())
    pipe.condition_encoder = Conditions()
    pipe.encode_prompt = lambda **_: (noise(1, 1, TEXT, 16), None, None, None)
    return pipe


def ace_step_arguments(**more: Any) -> dict[str, Any]:
    return {
        "prompt": "",
        "audio_duration": 5.0,
        "generator": seeded(),
        "output_type": "latent",
        **more,
    }


def longcat() -> Any:
    transformer = made(
        d.LongCatAudioDiTTransformer,
        dit_dim=16,
        dit_depth=2,
        dit_heads=2,
        dit_text_dim=8,
        latent_dim=4,
    )
    scheduler = flow(1.0, invert_sigmas=True)
    pipe = assembled(d.LongCatAudioDiTPipeline, transformer, scheduler, vae=oobleck())
    pipe.encode_prompt = lambda prompt, device: (noise(1, 1, TEXT, 8), torch.tensor([TEXT]))
    return pipe


def longcat_arguments(**more: Any) -> dict[str, Any]:
    latents = noise(3, 1, 10, 4)
    return {"prompt": "", "latents": latents, "output_type": "latent", **more}


FAMILIES = (
    Family("stable-audio", stable_audio, stable_audio_arguments),
    Family("stable-audio-3", stable_audio3, stable_audio3_arguments),
    Family(
        "stable-audio-3-stochastic",
        lambda: stable_audio3(stochastic_sampling=True),
        lambda: stable_audio3_arguments(guidance_scale=1.0),
    ),
    Family("ace-step", ace_step, ace_step_arguments, partly=True),
    Family("ace-step-turbo", lambda: ace_step(is_turbo=True), ace_step_arguments),
    Family("longcat-audio", longcat, longcat_arguments),
)
