"""What the words of an emoji scene's caption are about: the targets of `grounding.Grounding`.

A token tells its role (first, second or third emoji, or the background) and the noun of its role;
the pooled text tells every noun, the relation, the tone and the texture.
"""

from grounding import IGNORED, Grounding

from zcache.models.mini.scenes import NOUNS, RELATIONS, TEXTURES, TONES, Scene

GROUND = 3  # the role of what is said about the background
POOLED = [len(NOUNS)] * 3 + [1 + len(RELATIONS), len(TONES), len(TEXTURES)]


def of_scenes(width: int, tokenizer: object, scenes: list[Scene], ids: list) -> Grounding:
    """The heads and targets; `ids` are the tokens (scenes, L) of the long text."""
    spoken = [tokenizer.convert_ids_to_tokens(row) for row in ids]
    tokens = [_of_tokens(said, scene) for said, scene in zip(spoken, scenes, strict=True)]
    pooled = [_of_scene(scene) for scene in scenes]
    return Grounding(width, [1 + GROUND, len(NOUNS)], POOLED, tokens, pooled)


def _of_scene(scene: Scene) -> list[int]:
    nouns = [NOUNS.index(noun) for noun in scene.nouns]
    nouns += [IGNORED] * (3 - len(nouns))
    relation = (None, *RELATIONS).index(scene.relation)
    return [*nouns, relation, TONES.index(scene.tone), TEXTURES.index(scene.texture)]


def _of_tokens(tokens: list[str], scene: Scene) -> list[list[int]]:
    role, rows = 0, []
    for token in tokens:
        word = token.lstrip("\u2581").lower()
        if word in ("<pad>", "</s>", "."):
            rows.append([IGNORED, IGNORED])
            continue
        if word in ("of", "above", "and"):
            role += 1
        if word == "on":
            role = GROUND
        noun = NOUNS.index(scene.nouns[role]) if role < len(scene.nouns) else IGNORED
        rows.append([role, noun])
    return rows
