"""Videos from a picture or another video: SkyReels, Wan, CogVideoX, HunyuanVideo, LTX, Kandinsky 5, Cosmos 2."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import diffusers as d
import torch

from ...pipelines import hunyuan, hunyuan15, hunyuan15_arguments, hunyuan_arguments, picture, quiet
from .cosmos import cosmos2, world_arguments
from .family import TEXT, Family, assembled, flow, noise, prompts
from .segments import pictures
from .video import (
    cogvideox,
    cogvideox_arguments,
    ltx,
    sana_video,
    sana_video_arguments,
    still,
    unipc,
    wan_arguments,
    wan_transformer,
    wan_vae,
)
from .world import cogvideox_vae, kandinsky5, kandinsky5_arguments, ltx2


def skyreels_i2v() -> Any:
    transformer = wan_transformer(
        d.SkyReelsV2Transformer3DModel, in_channels=12, image_dim=16, added_kv_proj_dim=24
    )
    pipe = assembled(d.SkyReelsV2ImageToVideoPipeline, transformer, unipc(), vae=wan_vae())
    pipe.encode_image = lambda image, device: noise(7, 1, 4, 16)
    return pipe


def skyreels_forcing() -> Any:
    transformer = wan_transformer(d.SkyReelsV2Transformer3DModel)
    return assembled(d.SkyReelsV2DiffusionForcingPipeline, transformer, unipc(), vae=wan_vae())


def wan_v2v() -> Any:
    return assembled(d.WanVideoToVideoPipeline, wan_transformer(), unipc(), vae=wan_vae())


def wan_v2v_arguments() -> dict[str, Any]:
    arguments = wan_arguments(video=pictures(5, 32), strength=0.8, num_inference_steps=10)
    del arguments["num_frames"]
    return arguments


def cogvideox_v2v() -> Any:
    pipe = cogvideox()
    return assembled(
        d.CogVideoXVideoToVideoPipeline, pipe.transformer, pipe.scheduler, vae=cogvideox_vae()
    )


def cogvideox_v2v_arguments() -> dict[str, Any]:
    arguments = cogvideox_arguments(video=pictures(9, 16), strength=0.8, num_inference_steps=10)
    del arguments["num_frames"]
    return arguments


def hunyuan15_i2v() -> Any:
    pipe = hunyuan15(6.0)
    parts = {name: part for name, part in pipe.components.items() if name != "image_encoder"}
    pipe = quiet(
        d.HunyuanVideo15ImageToVideoPipeline(**parts, image_encoder=None, feature_extractor=None)
    )
    pipe.encode_image = lambda image, batch_size, device, dtype: noise(7, 1, 4, 8)
    return pipe


def hunyuan15_i2v_arguments() -> dict[str, Any]:
    arguments = hunyuan15_arguments(8)
    del arguments["height"], arguments["width"]
    return {**arguments, "image": pictures(1, 16)[0]}


def hunyuan_skyreels() -> Any:
    pipe = hunyuan()
    transformer = type(pipe.transformer).from_config({**pipe.transformer.config, "in_channels": 8})
    return assembled(d.HunyuanSkyreelsImageToVideoPipeline, transformer, flow(7.0), vae=pipe.vae)


def ltx2_i2v() -> Any:
    pipe = ltx2(d.LTX2ImageToVideoPipeline)
    encoded = SimpleNamespace(latents=noise(7, 1, 4, 1, 2, 2))
    pipe.vae.encode = lambda pixels: encoded
    return pipe


def ltx_long() -> Any:
    pipe = ltx(d.LTXI2VLongMultiPromptPipeline, flow(1.0))
    pipe.encode_prompt = lambda **_: (
        noise(1, 1, TEXT, 32),
        torch.ones(1, TEXT),
        noise(2, 1, TEXT, 32),
        torch.ones(1, TEXT),
    )
    return pipe


def ltx_long_arguments(**more: Any) -> dict[str, Any]:
    size = {"height": 32, "width": 32, "num_frames": 9, "cond_image": still()}
    return {"prompt": "", "guidance_scale": 3.0, **size, **more}


def kandinsky5_i2i() -> Any:
    pipe = kandinsky5(d.Kandinsky5I2IPipeline, image=True)
    encoded = SimpleNamespace(sample=lambda generator: noise(7, 1, 4, 4, 4))
    pipe.vae.encode = lambda pixels: SimpleNamespace(latent_dist=encoded)
    return pipe


FAMILIES = (
    Family("skyreels-v2-i2v", skyreels_i2v, lambda: wan_arguments(image=still())),
    Family("wan-v2v", wan_v2v, wan_v2v_arguments),
    Family("cogvideox-v2v", cogvideox_v2v, cogvideox_v2v_arguments),
    Family("hunyuan-video-1.5-i2v", hunyuan15_i2v, hunyuan15_i2v_arguments),
    Family(
        "hunyuan-skyreels-i2v",
        hunyuan_skyreels,
        lambda: hunyuan_arguments(8, guided=True, image=picture()),
    ),
    Family(
        "ltx-2-i2v",
        ltx2_i2v,
        lambda: prompts(
            16,
            "prompt_attention_mask",
            height=64,
            width=64,
            num_frames=9,
            image=still(64),
            image_crf=0,
        ),
        partly=True,
    ),
    Family("ltx-long", ltx_long, ltx_long_arguments, partly=True),
    Family(
        "kandinsky5-i2i",
        kandinsky5_i2i,
        lambda: kandinsky5_arguments(image=still()),
    ),
    Family(
        "sana-video-i2v",
        lambda: sana_video(d.SanaImageToVideoPipeline),
        lambda: sana_video_arguments(image=still()),
    ),
    Family(
        "cosmos-2-v2w",
        lambda: cosmos2(d.Cosmos2VideoToWorldPipeline, in_channels=5),
        lambda: world_arguments(num_frames=5, image=still()),
        partly=True,
    ),
)
