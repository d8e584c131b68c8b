"""Reads the emoji renderings and their English names from two unpacked npm packages.

    npm pack @lobehub/fluent-emoji-3d emojibase-data
    tar xzf lobehub-fluent-emoji-3d-*.tgz --one-top-level=pictures
    tar xzf emojibase-data-*.tgz --one-top-level=names

Pictures: Fluent Emoji 3D, Microsoft, MIT licence. Names and subgroups: emojibase, MIT licence.
Only the training reads them; the product holds nothing of them but trained weights.
"""

import json
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from PIL import Image


@dataclass(frozen=True)
class Emoji:
    """One rendering; `toned` marks a copy of another one with a skin tone."""

    name: str
    subgroup: str
    path: Path
    toned: bool

    @cached_property
    def picture(self) -> Image.Image:
        """The rendering, RGBA, 256x256, cut to what is seen."""
        whole = Image.open(self.path).convert("RGBA")
        return whole.crop(whole.getbbox())


def read(folder: Path) -> list[Emoji]:
    """Lists every rendering that has a name, in Unicode's order."""
    assets = folder / "pictures" / "package" / "assets"
    paths = {path.stem.replace("-fe0f", ""): path for path in assets.glob("*.webp")}
    names = folder / "names" / "package"
    subgroups = json.loads((names / "meta" / "groups.json").read_text())["subgroups"]
    found = []
    for entry in json.loads((names / "en" / "data.json").read_text()):
        if "subgroup" not in entry:
            continue
        subgroup = subgroups[str(entry["subgroup"])]
        for toned, one in [(False, entry), *((True, skin) for skin in entry.get("skins", []))]:
            path = paths.get(one["hexcode"].lower().replace("-fe0f", ""))
            if path:
                name = one["label"].replace("\u2019", "'")
                found.append(Emoji(name, subgroup, path, toned))
    return found
