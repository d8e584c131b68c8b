"""The client code of the app's page, run against the app."""

import re
from pathlib import Path

import pytest
from gradio_client import Client

PAGE = (Path(__file__).parents[1] / "zcache/app/README.md").read_text(encoding="utf-8")
ADDRESS = "http://127.0.0.1:7860"
EXAMPLES = [
    code for code in re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL) if "gradio_client" in code
]


def test_there_is_client_code():
    assert len(EXAMPLES) == 3


@pytest.mark.parametrize("code", EXAMPLES)
def test_the_client_code_runs_as_it_is_written(served, code, capsys):
    assert ADDRESS in code
    local = code.replace(ADDRESS, served.rstrip("/"))

    exec(compile(local, "README.md", "exec"), {})

    assert capsys.readouterr().out


def test_every_endpoint_is_described(served):
    described = set(re.findall(r"^\| `(/\w+)` \|", PAGE, re.MULTILINE))
    assert described == set(
        Client(served, verbose=False).view_api(return_format="dict")["named_endpoints"]
    )
