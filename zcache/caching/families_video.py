"""The described transformers that draw videos, by the name of the class.

Order of the fields: what runs (blocks, head), what may be left out or remembered (conditioning,
per_step), what its pipelines do (guidance). tests/caching/families judges every entry."""

from __future__ import annotations

from .description import CROSS, DOUBLE, EMBEDDED, SINGLE, Adapter, Blocks
from .signals import (
    Embedding,
    cogvideox_variant,
    cosmos_variant,
    first_norm,
    first_norm_hunyuan,
    first_norm_tensor,
    hunyuan_variant,
    ltx_variant,
    modulated,
    wan_variant,
)

_WAN = Blocks("blocks", ("attn1", "attn2", "ffn"), returns=("hidden_states",))
_KANDINSKY = ("self_attention", "cross_attention", "feed_forward")
_PER_STEP_SCALE = "classifier-free, preconditioned by the noise level at every step"

VIDEO: dict[str, Adapter] = {
    "Kandinsky5Transformer3DModel": Adapter(
        (
            Blocks("text_transformer_blocks", ("self_attention", "feed_forward")),
            Blocks("visual_transformer_blocks", _KANDINSKY),
        ),
        head="out_layer",
        joined=True,
        per_step=("text_embeddings", "time_embeddings", "pooled_text_embeddings"),
    ),
    "Kandinsky6Transformer3DModel": Adapter(
        (
            Blocks("video_text_transformer_blocks", ("attn", "feed_forward")),
            Blocks("audio_text_transformer_blocks", ("attn", "feed_forward")),
            Blocks(
                "visual_transformer_blocks",
                (
                    *(f"video_dec_block.{name}" for name in _KANDINSKY),
                    *(f"audio_dec_block.{name}" for name in _KANDINSKY),
                    "va_cross_attention",
                    "av_cross_attention",
                ),
            ),
        ),
        head="out_layer",
        other_heads=("audio_out_layer",),
        joined=True,
        per_step=tuple(
            f"{stream}_{name}_embeddings"
            for stream in ("video", "audio")
            for name in ("time", "text", "pooled_text")
        ),
        guidance="classifier-free, on two latents at once",
    ),
    "MotifVideoTransformer3DModel": Adapter(
        (Blocks("transformer_blocks"), Blocks("single_transformer_blocks")),
        conditioning=("rope",),
        per_step=("time_text_embed", "context_embedder"),
        guidance="a guider's: adaptive projected guidance, which is not linear",
        no_module="its single blocks add cross-attention to attention before one projection of both",
    ),
    "SanaVideoTransformer3DModel": Adapter(
        (CROSS,),
        conditioning=("caption_norm", "rope"),
        per_step=("time_embed", "caption_projection"),
    ),
    "AllegroTransformer3DModel": Adapter((CROSS,), per_step=("adaln_single", "caption_projection")),
    "LatteTransformer3DModel": Adapter(
        (CROSS, Blocks("temporal_transformer_blocks", ("attn1", "ff"))),
        per_step=("adaln_single", "caption_projection"),
    ),
    "LTXVideoTransformer3DModel": Adapter(
        (CROSS,),
        conditioning=("rope",),
        per_step=("time_embed", "caption_projection"),
        signal=Embedding("time_embed", 0, modulated),
        variant=ltx_variant,
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
        (CROSS,),
        conditioning=("rope",),
        per_step=("time_embed",),
        signal=first_norm_tensor,
        variant=cosmos_variant,
        guidance=_PER_STEP_SCALE,
    ),
    "MochiTransformer3DModel": Adapter(
        (Blocks("transformer_blocks", ("attn1", "ff", "ff_context")),),
        conditioning=("rope",),
        per_step=("time_embed",),
        signal=first_norm_tensor,
    ),
    "CogVideoXTransformer3DModel": Adapter(
        (Blocks("transformer_blocks", ("attn1", "ff")),),
        head="norm_final",
        per_step=("time_embedding",),
        signal=Embedding("time_embedding"),
        variant=cogvideox_variant,
        guidance="classifier-free, with a scale that changes along the run if asked for",
    ),
    "HunyuanVideoTransformer3DModel": Adapter(
        (DOUBLE, SINGLE),
        conditioning=("context_embedder", "rope"),
        per_step=("time_text_embed",),
        signal=first_norm_hunyuan,
        variant=hunyuan_variant,
        guidance=EMBEDDED,
    ),
    "HunyuanVideo15Transformer3DModel": Adapter(
        (DOUBLE,),
        conditioning=("rope",),
        per_step=("time_embed", "context_embedder", "context_embedder_2", "image_embedder"),
        signal=first_norm,
        guidance="a guider's",
    ),
    "HunyuanVideoFramepackTransformer3DModel": Adapter(
        (DOUBLE, SINGLE),
        joined=True,
        per_step=("time_text_embed", "context_embedder", "image_projection", "clean_x_embedder"),
        guidance=EMBEDDED,
    ),
    "WanTransformer3DModel": Adapter(
        (_WAN,),
        conditioning=("rope",),
        per_step=("condition_embedder",),
        signal=Embedding("condition_embedder", 0),
        variant=wan_variant,
    ),
    "WanVACETransformer3DModel": Adapter(
        (Blocks("vace_blocks"), Blocks("blocks")),
        conditioning=("rope",),
        per_step=("condition_embedder", "vace_patch_embedding"),
        no_module="its control blocks hand on projections of themselves, not features before a gate",
    ),
    "WanAnimateTransformer3DModel": Adapter(
        (_WAN, Blocks("face_adapter", ("to_out",))),
        conditioning=("rope", "face_encoder"),
        per_step=("condition_embedder", "pose_patch_embedding", "motion_encoder", "face_encoder"),
    ),
    "HeliosTransformer3DModel": Adapter(
        (_WAN,), per_step=("condition_embedder",), guidance="classifier-free, chunk by chunk"
    ),
    "AnyFlowTransformer3DModel": Adapter(
        (_WAN,),
        per_step=("condition_embedder",),
        guidance="distilled; classifier-free if asked for",
    ),
    "SanaWMTransformer3DModel": Adapter(
        (Blocks("blocks", ("attn", "cross_attn", "mlp")),),
        head="final_layer",
        per_step=("t_embedder", "t_block", "y_embedder"),
        guidance="classifier-free, of tokens in another order than the latent's",
    ),
    "Cosmos3OmniTransformer": Adapter(
        (Blocks("layers", ("self_attn", "mlp", "mlp_moe_gen")),),
        head="norm_moe_gen",
        joined=True,
        per_step=("time_embedder", "rotary_emb"),
        guidance="classifier-free, on a latent for each of picture, sound and action",
    ),
    "EasyAnimateTransformer3DModel": Adapter(
        (Blocks("transformer_blocks", ("attn1", "ff", "txt_ff")),),
        head="norm_final",
        conditioning=("rope_embedding",),
        per_step=("time_embedding", "text_proj", "text_proj_t5"),
        guidance="classifier-free, rescaled if asked for",
    ),
    "SkyReelsV2Transformer3DModel": Adapter(
        (_WAN,), conditioning=("rope",), per_step=("condition_embedder",)
    ),
    "ChronoEditTransformer3DModel": Adapter(
        (_WAN,), conditioning=("rope",), per_step=("condition_embedder",)
    ),
}
