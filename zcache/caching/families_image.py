"""The described transformers that draw pictures, by the name of the class.

Order of the fields: what runs (blocks, head), what may be left out or remembered (conditioning,
per_step), what its pipelines do (guidance). tests/caching/families judges every entry."""

from __future__ import annotations

from .description import CROSS, DOUBLE, EMBEDDED, SINGLE, Adapter, Blocks
from .signals import Embedding, first_norm, first_norm_dit, hidream_variant

_JOY_IMAGE = Adapter(
    (Blocks("double_blocks", ("attn", "img_mlp", "txt_mlp")),),
    per_step=("condition_embedder",),
    guidance="classifier-free, rescaled to the conditional's norm",
)

IMAGE: dict[str, Adapter] = {
    "FluxTransformer2DModel": Adapter(
        (DOUBLE, SINGLE),
        conditioning=("context_embedder", "pos_embed"),
        per_step=("time_text_embed",),
        signal=first_norm,
        guidance=EMBEDDED,
    ),
    "Flux2Transformer2DModel": Adapter(
        (DOUBLE, Blocks("single_transformer_blocks", ("attn",))),
        per_step=(
            "context_embedder",
            "time_guidance_embed",
            "double_stream_modulation_img",
            "double_stream_modulation_txt",
            "single_stream_modulation",
        ),
        guidance=EMBEDDED,
    ),
    "ChromaTransformer2DModel": Adapter(
        (DOUBLE, SINGLE),
        conditioning=("pos_embed",),
        per_step=("time_text_embed", "distilled_guidance_layer", "context_embedder"),
    ),
    # `temb` is added to in place, so time_embed is not remembered.
    "BriaTransformer2DModel": Adapter(
        (DOUBLE, SINGLE), conditioning=("context_embedder", "pos_embed")
    ),
    "BriaFiboTransformer2DModel": Adapter(
        (DOUBLE, SINGLE),
        conditioning=("context_embedder", "pos_embed"),
        kept=("caption_projection",),
    ),
    "OvisImageTransformer2DModel": Adapter(
        (Blocks("transformer_blocks"), Blocks("single_transformer_blocks")),
        conditioning=("context_embedder_norm", "context_embedder", "pos_embed"),
        no_module="its single blocks split the MLP by width, so the MLP cannot be left out",
    ),
    "LongCatImageTransformer2DModel": Adapter(
        (DOUBLE, SINGLE),
        conditioning=("context_embedder", "pos_embed"),
        per_step=("time_embed",),
        guidance="classifier-free, rescaled to the conditional's norm if asked for",
    ),
    "QwenImageTransformer2DModel": Adapter(
        (
            Blocks(
                "transformer_blocks",
                ("attn", "img_mlp", "txt_mlp"),
                returns=("encoder_hidden_states", "hidden_states"),
            ),
        ),
        conditioning=("pos_embed", "txt_norm", "txt_in"),
        per_step=("time_text_embed",),
        guidance="classifier-free, rescaled to the conditional's norm",
    ),
    "SD3Transformer2DModel": Adapter(
        (Blocks("transformer_blocks", ("attn", "attn2", "ff", "ff_context")),),
        conditioning=("context_embedder",),
        per_step=("time_text_embed",),
        guidance="classifier-free; skip-layer guidance on some steps if asked for",
    ),
    "ZImageTransformer2DModel": Adapter(
        (
            Blocks("noise_refiner", ("attention", "feed_forward")),
            Blocks("context_refiner", ("attention", "feed_forward")),
            Blocks("layers", ("attention", "feed_forward")),
        ),
        head="all_final_layer.*",
        joined=True,
        kept=("siglip_refiner",),
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
                walked=True,
            ),
            Blocks("single_stream_blocks", ("block.attn1", "block.ff_i")),
        ),
        head="final_layer",
        conditioning=("pe_embedder",),
        kept=("caption_projection",),
        per_step=("t_embedder", "p_embedder"),
        signal=Embedding("t_embedder"),
        variant=hidream_variant,
    ),
    "DiTTransformer2DModel": Adapter(
        (Blocks("transformer_blocks", ("attn1", "ff")),),
        signal=first_norm_dit,
        guidance="classifier-free on half of the channels",
    ),
    "PixArtTransformer2DModel": Adapter((CROSS,), per_step=("adaln_single", "caption_projection")),
    "SanaTransformer2DModel": Adapter(
        (CROSS,),
        conditioning=("caption_norm",),
        per_step=("time_embed", "caption_projection"),
    ),
    "PRXTransformer2DModel": Adapter(
        (Blocks("blocks", ("attention", "down_proj"), bypass=("gate_proj", "up_proj")),),
        head="final_layer",
        conditioning=("txt_in", "pe_embedder"),
        per_step=("time_in",),
    ),
    "CogView3PlusTransformer2DModel": Adapter(
        (Blocks("transformer_blocks", ("attn1", "ff")),), per_step=("time_condition_embed",)
    ),
    "CogView4Transformer2DModel": Adapter(
        (Blocks("transformer_blocks", ("attn1", "ff")),),
        conditioning=("rope",),
        per_step=("time_condition_embed",),
    ),
    "HunyuanImageTransformer2DModel": Adapter(
        (DOUBLE, SINGLE),
        conditioning=("rope",),
        per_step=("time_guidance_embed", "context_embedder", "context_embedder_2"),
        guidance="a guider's: adaptive projected guidance, which is not linear",
    ),
    "HunyuanDiT2DModel": Adapter(
        (
            Blocks(
                "blocks", ("attn1", "attn2", "ff"), returns=("hidden_states",), walked=True
            ),  # takes the control net's list apart as it goes
        ),
        per_step=("time_extra_emb", "text_embedder"),
        guidance="classifier-free, rescaled if asked for",
    ),
    "QwenImage21Transformer2DModel": Adapter(
        (Blocks("transformer_blocks", ("attn", "img_mlp")),),
        conditioning=("pos_embed",),
        per_step=("time_text_embed", "modulation", "txt_in"),
    ),
    # The prior's embedding is written into, so only its projection is remembered.
    "GlmImageTransformer2DModel": Adapter(
        (Blocks("transformer_blocks", ("attn1", "ff")),),
        conditioning=("rope", "glyph_projector"),
        per_step=("prior_projector", "time_condition_embed"),
    ),
    "ErnieImageTransformer2DModel": Adapter(
        (Blocks("layers", ("self_attention", "mlp")),),
        head="final_norm",
        conditioning=("pos_embed",),
        per_step=("text_proj", "time_embedding", "adaLN_modulation"),
    ),
    "Ideogram4Transformer2DModel": Adapter(
        (Blocks("layers", ("attention", "feed_forward")),),
        head="final_layer",
        per_step=(
            "t_embedding",
            "adaln_proj",
            "llm_cond_norm",
            "llm_cond_proj",
            "embed_image_indicator",
            "rotary_emb",
        ),
        guidance="classifier-free by a second transformer, its scale as scheduled",
    ),
    "LuminaNextDiT2DModel": Adapter(
        (Blocks("layers", ("attn1", "attn2", "feed_forward")),),
        per_step=("time_caption_embed",),
        guidance="classifier-free on three of the channels",
    ),
    "OmniGenTransformer2DModel": Adapter(
        (Blocks("layers", ("self_attn", "mlp")),),
        head="norm",
        conditioning=("rope",),
        per_step=("time_token", "t_embedder"),
        guidance="classifier-free, by text and by pictures",
    ),
    "BriaFibo2Transformer2DModel": Adapter(
        (
            Blocks("noise_refiner", ("attention", "feed_forward")),
            Blocks("layers", ("attention", "cross_attention", "feed_forward")),
        ),
        head="final_layer",
        joined=True,
        per_step=("t_embedder", "perceiver"),
    ),
    "NucleusMoEImageTransformer2DModel": Adapter(
        (Blocks("transformer_blocks", ("attn", "img_mlp"), bypass=("encoder_proj",)),),
        conditioning=("pos_embed", "txt_norm"),
        per_step=("time_text_embed",),
        guidance="classifier-free, rescaled to the conditional's norm",
    ),
    "JoyImageEditTransformer3DModel": _JOY_IMAGE,
    "JoyImageEditPlusTransformer3DModel": _JOY_IMAGE,
}
