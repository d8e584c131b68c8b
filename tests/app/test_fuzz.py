"""Generated bad input at every endpoint: a sentence or an answer, and nothing of the inside.

`python -m tests.app.test_fuzz http://127.0.0.1:7860 500` sends 500 such calls to a running app.
"""

import random
import re
import sys
from collections import Counter

import pytest
from gradio_client import Client

from . import bad_input

CALLS = 40
INSIDE = re.compile(
    r"Traceback|File \"|site-packages|/home/|/work/|/root/|/tmp/|hf_[A-Za-z]{8}|object at 0x"
)
SILENT = "upstream Gradio app has raised an exception"


def outcome(client: Client, endpoint: str, arguments: dict) -> tuple[str, str]:
    """Return "answered" or "refused" and what was said; raises if the refusal is no sentence."""
    try:
        client.predict(**arguments, api_name=endpoint)
    except Exception as error:
        said = str(error)
        assert not INSIDE.search(said), (endpoint, arguments, said)
        assert SILENT not in said, (endpoint, arguments, said)
        return "refused", said
    return "answered", ""


def barrage(client: Client, number: int, seed: int = 0) -> Counter:
    """Send `number` generated calls; return how many were answered and refused."""
    rng, counted = random.Random(seed), Counter()
    for _ in range(number):
        what, _ = outcome(client, *bad_input.call(rng))
        counted[what] += 1
    return counted


def test_bad_input_is_refused_in_a_sentence_and_the_next_run_works(served):
    client = Client(served, verbose=False)

    counted = barrage(client, CALLS)

    assert counted["refused"] > CALLS / 2
    _, _, report = client.predict(prompt="a red circle", steps=10, api_name="/compare_image")
    assert report["full_passes"] < 10


@pytest.mark.parametrize("text", ["\x00", "\ud800", "</div><script>alert(1)</script>", "a" * 501])
def test_a_hostile_prompt_is_drawn_or_refused_and_never_echoed_raw(served, text):
    what, said = outcome(
        Client(served, verbose=False), "/compare_image", {"prompt": text, "steps": 10}
    )

    assert "<script>" not in said
    assert what == ("answered" if text.startswith("</div>") else "refused")


if __name__ == "__main__":
    print(dict(barrage(Client(sys.argv[1], verbose=False), int(sys.argv[2]))))
