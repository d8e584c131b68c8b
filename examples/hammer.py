"""Many clients at once against a running app: `python examples/hammer.py http://127.0.0.1:7860`.

Each client asks for pictures of a few prompts and settings, one after the other. Equal requests must
give equal pictures, whoever asked and however many did; anything that is no picture and no sentence
is counted as broken.
"""

from __future__ import annotations

import argparse
import json
import random
import threading
import time
from hashlib import sha256
from pathlib import Path
from typing import Any

from gradio_client import Client
from gradio_client.exceptions import AppError

PROMPTS = ("a cat left of a cake", "a rocket", "a dog above a tree and a car")


class Tally:
    """What the clients met, together."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self.seconds: list[float] = []
        self.refused: dict[str, int] = {}
        self.broken: list[str] = []
        self.pictures: dict[str, set[str]] = {}

    def answered(self, asked: dict[str, Any], picture: str, seconds: float) -> None:
        """Count a picture and remember which one it was."""
        digest = sha256(Path(picture).read_bytes()).hexdigest()
        with self._lock:
            self.seconds.append(seconds)
            self.pictures.setdefault(json.dumps(asked, sort_keys=True), set()).add(digest)

    def failed(self, error: Exception) -> None:
        """Count a refusal by its sentence, or something broken."""
        with self._lock:
            if isinstance(error, AppError) and str(error).strip():
                self.refused[str(error)] = self.refused.get(str(error), 0) + 1
            else:
                self.broken.append(f"{type(error).__name__}: {error}")

    def figures(self) -> dict[str, Any]:
        """Return the counts, and the median and 95th percentile of the seconds to a picture."""
        times = sorted(self.seconds) or [0.0]
        return {
            "pictures": len(self.seconds),
            "different_requests": len(self.pictures),
            "wrong_pictures": sum(len(seen) > 1 for seen in self.pictures.values()),
            "median_seconds": round(times[len(times) // 2], 2),
            "p95_seconds": round(times[int(len(times) * 0.95)], 2),
            "refused": self.refused,
            "broken": self.broken[:5],
        }


def visit(url: str, tally: Tally, until: float, seed: int) -> None:
    """Be one client until the time is over."""
    rng, client = random.Random(seed), Client(url, verbose=False)
    while time.monotonic() < until:
        asked = {"prompt": rng.choice(PROMPTS), "interval": rng.choice((4, 8)), "steps": 10}
        began = time.monotonic()
        try:
            _, accelerated, _ = client.predict(**asked, api_name="/compare_image")
            tally.answered(asked, accelerated, time.monotonic() - began)
        except Exception as error:
            tally.failed(error)


def main() -> None:
    """Send the clients off and print what they met."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("url")
    parser.add_argument("--clients", type=int, default=20)
    parser.add_argument("--seconds", type=float, default=60)
    options = parser.parse_args()
    tally, until = Tally(), time.monotonic() + options.seconds
    visitors = [
        threading.Thread(target=visit, args=(options.url, tally, until, seed))
        for seed in range(options.clients)
    ]
    for visitor in visitors:
        visitor.start()
    for visitor in visitors:
        visitor.join()
    print(json.dumps(tally.figures(), indent=1))


if __name__ == "__main__":
    main()
