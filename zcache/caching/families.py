"""The transformers that are described: one entry a family, by the name of its class.

Order of the fields: what runs (blocks, head), what may be left out or remembered (conditioning,
per_step), what its pipelines do (guidance). tests/caching/families judges every entry."""

from __future__ import annotations

from .description import Adapter, Blocks
from .signals import first_norm, first_norm_dit, first_norm_hunyuan

_DOUBLE = Blocks("transformer_blocks", ("attn", "ff", "ff_context"))
_SINGLE = Blocks("single_transformer_blocks", ("proj_out",), bypass=("attn", "proj_mlp", "act_mlp"))
_CROSS = Blocks("transformer_blocks", ("attn1", "attn2", "ff"))
_WAN = Blocks("blocks", ("attn1", "attn2", "ffn"))
_EMBEDDED = "embedded; classifier-free with a constant scale if asked for"
_PER_STEP_SCALE = "classifier-free, preconditioned by the noise level at every step"

FLUX = {
    "FluxTransformer2DModel": Adapter(
        (_DOUBLE, _SINGLE),
        conditioning=("context_embedder", "pos_embed"),
        per_step=("time_text_embed",),
        signal=first_norm,
        constant_guidance=True,
        guidance=_EMBEDDED,
    ),
    "Flux2Transformer2DModel": Adapter(
        (_DOUBLE, Blocks("single_transformer_blocks", ("attn",))),
        per_step=(
            "context_embedder",
            "time_guidance_embed",
            "double_stream_modulation_img",
            "double_stream_modulation_txt",
            "single_stream_modulation",
        ),
        guidance=_EMBEDDED,
    ),
    "ChromaTransformer2DModel": Adapter(
        (_DOUBLE, _SINGLE),
        conditioning=("pos_embed",),
        per_step=("time_text_embed", "distilled_guidance_layer", "context_embedder"),
    ),
    # `temb` is added to in place, so time_embed is not remembered.
    "BriaTransformer2DModel": Adapter(
        (_DOUBLE, _SINGLE), conditioning=("context_embedder", "pos_embed")
    ),
    "BriaFiboTransformer2DModel": Adapter(
        (_DOUBLE, _SINGLE),
        conditioning=("context_embedder", "pos_embed"),
        kept=("caption_projection",),
    ),
    "OvisImageTransformer2DModel": Adapter(
        (Blocks("transformer_blocks"), Blocks("single_transformer_blocks")),
        conditioning=("context_embedder_norm", "context_embedder", "pos_embed"),
        no_module="its single blocks split the MLP by width, so the MLP cannot be left out",
    ),
    "LongCatImageTransformer2DModel": Adapter(
        (_DOUBLE, _SINGLE),
        conditioning=("context_embedder", "pos_embed"),
        per_step=("time_embed",),
        guidance="classifier-free, rescaled to the conditional's norm if asked for",
    ),
}

HUNYUAN = {
    "HunyuanVideoTransformer3DModel": Adapter(
        (_DOUBLE, _SINGLE),
        conditioning=("context_embedder", "rope"),
        per_step=("time_text_embed",),
        signal=first_norm_hunyuan,
        constant_guidance=True,
        guidance=_EMBEDDED,
    ),
    "HunyuanVideo15Transformer3DModel": Adapter(
        (_DOUBLE,),
        conditioning=("rope",),
        per_step=("time_embed", "context_embedder", "context_embedder_2", "image_embedder"),
        signal=first_norm,
        constant_guidance=True,
        guidance="a guider's",
    ),
    "HunyuanVideoFramepackTransformer3DModel": Adapter(
        (_DOUBLE, _SINGLE),
        joined=True,
        per_step=("time_text_embed", "context_embedder", "image_projection", "clean_x_embedder"),
        guidance=_EMBEDDED,
    ),
    "HunyuanImageTransformer2DModel": Adapter(
        (_DOUBLE, _SINGLE),
        conditioning=("rope",),
        per_step=("time_guidance_embed", "context_embedder", "context_embedder_2"),
        guidance="a guider's: adaptive projected guidance, which is not linear",
    ),
    "HunyuanDiT2DModel": Adapter(
        (Blocks("blocks", ("attn1", "attn2", "ff")),),
        per_step=("time_extra_emb", "text_embedder"),
        guidance="classifier-free, rescaled if asked for",
    ),
}

WAN = {
    "WanTransformer3DModel": Adapter(
        (_WAN,), conditioning=("rope",), per_step=("condition_embedder",)
    ),
    "WanVACETransformer3DModel": Adapter(
        (Blocks("vace_blocks"), Blocks("blocks")),
        conditioning=("rope",),
        per_step=("condition_embedder", "vace_patch_embedding"),
        no_module="its control blocks hand on projections of themselves, not features before a gate",
    ),
    "SkyReelsV2Transformer3DModel": Adapter(
        (_WAN,), conditioning=("rope",), per_step=("condition_embedder",)
    ),
    "ChronoEditTransformer3DModel": Adapter(
        (_WAN,), conditioning=("rope",), per_step=("condition_embedder",)
    ),
}

QWEN = {
    "QwenImageTransformer2DModel": Adapter(
        (Blocks("transformer_blocks", ("attn", "img_mlp", "txt_mlp")),),
        conditioning=("pos_embed", "txt_norm", "txt_in"),
        per_step=("time_text_embed",),
        guidance="classifier-free, rescaled to the conditional's norm",
    ),
}

STABLE_DIFFUSION = {
    "SD3Transformer2DModel": Adapter(
        (Blocks("transformer_blocks", ("attn", "attn2", "ff", "ff_context")),),
        conditioning=("context_embedder",),
        per_step=("time_text_embed",),
        guidance="classifier-free; skip-layer guidance on some steps if asked for",
    ),
}

COGVIEW = {
    "CogVideoXTransformer3DModel": Adapter(
        (Blocks("transformer_blocks", ("attn1", "ff")),),
        head="norm_final",
        per_step=("time_embedding",),
        guidance="classifier-free, with a scale that changes along the run if asked for",
    ),
    "CogView3PlusTransformer2DModel": Adapter(
        (Blocks("transformer_blocks", ("attn1", "ff")),), per_step=("time_condition_embed",)
    ),
    "CogView4Transformer2DModel": Adapter(
        (Blocks("transformer_blocks", ("attn1", "ff")),),
        conditioning=("rope",),
        per_step=("time_condition_embed",),
    ),
}

CROSS_ATTENTION = {
    "DiTTransformer2DModel": Adapter(
        (Blocks("transformer_blocks", ("attn1", "ff")),),
        signal=first_norm_dit,
        constant_guidance=True,
        guidance="classifier-free on half of the channels",
    ),
    "PixArtTransformer2DModel": Adapter((_CROSS,), per_step=("adaln_single", "caption_projection")),
    "SanaTransformer2DModel": Adapter(
        (_CROSS,),
        conditioning=("caption_norm",),
        per_step=("time_embed", "caption_projection"),
    ),
    "SanaVideoTransformer3DModel": Adapter(
        (_CROSS,),
        conditioning=("caption_norm", "rope"),
        per_step=("time_embed", "caption_projection"),
    ),
    "AllegroTransformer3DModel": Adapter(
        (_CROSS,), per_step=("adaln_single", "caption_projection")
    ),
    "LatteTransformer3DModel": Adapter(
        (_CROSS, Blocks("temporal_transformer_blocks", ("attn1", "ff"))),
        per_step=("adaln_single", "caption_projection"),
    ),
    "LTXVideoTransformer3DModel": Adapter(
        (_CROSS,),
        conditioning=("rope",),
        per_step=("time_embed", "caption_projection"),
        guidance="classifier-free, rescaled if asked for",
    ),
    "LTX2VideoTransformer3DModel": Adapter(
        (
            Blocks(
                "transformer_blocks",
                (
                    "attn1",
                    "audio_attn1",
                    "attn2",
                    "audio_attn2",
                    "audio_to_video_attn",
                    "video_to_audio_attn",
                    "ff",
                    "audio_ff",
                ),
            ),
        ),
        other_heads=("audio_norm_out",),
        joined=True,
        per_step=("time_embed", "audio_time_embed"),
        guidance="classifier-free, rescaled, on two latents at once",
    ),
    "CosmosTransformer3DModel": Adapter(
        (_CROSS,), conditioning=("rope",), per_step=("time_embed",), guidance=_PER_STEP_SCALE
    ),
    "MochiTransformer3DModel": Adapter(
        (Blocks("transformer_blocks", ("attn1", "ff", "ff_context")),),
        conditioning=("rope",),
        per_step=("time_embed",),
    ),
    "PRXTransformer2DModel": Adapter(
        (Blocks("blocks", ("attention", "down_proj"), bypass=("gate_proj", "up_proj")),),
        head="final_layer",
        conditioning=("txt_in", "pe_embedder"),
        per_step=("time_in",),
    ),
}

JOINED = {
    "ZImageTransformer2DModel": Adapter(
        (
            Blocks("noise_refiner", ("attention", "feed_forward")),
            Blocks("context_refiner", ("attention", "feed_forward")),
            Blocks("layers", ("attention", "feed_forward")),
        ),
        head="all_final_layer.*",
        joined=True,
        per_step=("t_embedder", "cap_embedder"),
        guidance="classifier-free, normalised and cut off along the run if asked for",
    ),
    "Lumina2Transformer2DModel": Adapter(
        (
            Blocks("context_refiner", ("attn", "feed_forward")),
            Blocks("noise_refiner", ("attn", "feed_forward")),
            Blocks("layers", ("attn", "feed_forward")),
        ),
        joined=True,
        per_step=("time_caption_embed",),
        guidance="classifier-free, rescaled to the conditional's norm",
    ),
    "Krea2Transformer2DModel": Adapter(
        (Blocks("transformer_blocks", ("attn", "ff")),),
        head="final_layer",
        joined=True,
        conditioning=("rotary_emb",),
        per_step=("time_embed", "time_mod_proj", "text_fusion", "txt_in"),
    ),
    "Kandinsky5Transformer3DModel": Adapter(
        (
            Blocks("text_transformer_blocks", ("self_attention", "feed_forward")),
            Blocks(
                "visual_transformer_blocks", ("self_attention", "cross_attention", "feed_forward")
            ),
        ),
        head="out_layer",
        joined=True,
        per_step=("text_embeddings", "time_embeddings", "pooled_text_embeddings"),
    ),
    "AuraFlowTransformer2DModel": Adapter(
        (
            Blocks("joint_transformer_blocks", ("attn", "ff", "ff_context")),
            Blocks("single_transformer_blocks", ("attn", "ff")),
        ),
        per_step=("time_step_embed", "time_step_proj", "context_embedder"),
    ),
    "HiDreamImageTransformer2DModel": Adapter(
        (
            Blocks(
                "double_stream_blocks",
                ("block.attn1", "block.ff_i", "block.ff_t"),
                returns=("hidden_states", "encoder_hidden_states"),
            ),
            Blocks("single_stream_blocks", ("block.attn1", "block.ff_i")),
        ),
        head="final_layer",
        conditioning=("pe_embedder",),
        kept=("caption_projection",),
        per_step=("t_embedder", "p_embedder"),
    ),
    "MotifVideoTransformer3DModel": Adapter(
        (Blocks("transformer_blocks"), Blocks("single_transformer_blocks")),
        conditioning=("rope",),
        per_step=("time_text_embed", "context_embedder"),
        guidance="a guider's: adaptive projected guidance, which is not linear",
        no_module="its single blocks add cross-attention to attention before one projection of both",
    ),
}

FAMILIES: dict[str, Adapter] = {
    **FLUX,
    **HUNYUAN,
    **WAN,
    **QWEN,
    **STABLE_DIFFUSION,
    **COGVIEW,
    **CROSS_ATTENTION,
    **JOINED,
}
