"""The described transformers that make sounds, by the name of the class; fields as in `families_video`."""

from __future__ import annotations

from .description import CROSS, Adapter, Blocks

AUDIO: dict[str, Adapter] = {
    "StableAudioDiTModel": Adapter(
        (CROSS,),
        head="proj_out",
        conditioning=("cross_attention_proj",),
        per_step=("timestep_proj", "global_proj"),
    ),
    "StableAudio3DiTModel": Adapter(
        (Blocks("transformer_blocks", ("self_attn", "cross_attn", "ff")),),
        head="proj_out",
        joined=True,
        conditioning=("to_cond_embed", "global_cond_embedder", "rotary_pos_emb"),
        per_step=("to_timestep_embed", "to_global_embed"),
    ),
    "AceStepTransformer1DModel": Adapter(
        (Blocks("layers", ("self_attn", "cross_attn", "mlp")),),
        conditioning=("condition_embedder",),
        per_step=("time_embed", "time_embed_r"),
        guidance="adaptive projected, with momentum, which is not linear; none in distilled models",
    ),
    "LongCatAudioDiTTransformer": Adapter(
        (Blocks("blocks", ("self_attn", "cross_attn", "ffn")),),
        joined=True,
        conditioning=("rotary_embed",),
        per_step=("time_embed", "text_embed"),
    ),
}
