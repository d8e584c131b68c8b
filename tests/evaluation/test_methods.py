"""Names of methods: what is known, the sets they are written out to, and the paper's rows."""

from __future__ import annotations

import re

import pytest

from zcache import ConfigError
from zcache.evaluation import methods, printed, table
from zcache.evaluation.store import file_name


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("magic:5", "method 'magic:5' is unknown"),
        ("zcache", "lacks its number"),
        ("zcache:five", "where a whole number stands"),
        ("zcache:5,colour=red", "setting 'colour=red' is unknown"),
        ("zcache:51", "interval 51 is above the 50"),
        ("steps:60", "choose 1 to 50"),
        ("row:flux-dev/z-cache/3", "preset 'flux-dev/z-cache/3' is unknown"),
        ("teacache:-1", "threshold is -1.0"),
    ],
)
def test_a_bad_method_is_one_sentence(name, said):
    with pytest.raises(ConfigError, match=re.escape(said)):
        methods.parse(name, 50)


@pytest.mark.parametrize(
    "name",
    ["zcache:x", "zcache:51", "taylorseer:x", "unipc:x", "l2c:x", "diffusers-taylorseer-lite:x", "cache-dit-foca:x",
     "spectrum:x", "dpcache:x", "toca:x", "zcache:5,base=x", "row:x", "zcache:5,colour=red"],
)  # fmt: skip
def test_what_is_refused_is_named_as_it_was_written(name):
    with pytest.raises(ConfigError, match=f"^method {re.escape(repr(name))}: "):
        methods.parse(name, 50)


@pytest.mark.parametrize("name", ["equal:x", "weights:five", "equal:51"])
def test_a_set_that_is_refused_is_named_too(name):
    with pytest.raises(ConfigError, match=f"^method {name!r}: "):
        methods.expand([name], "mini-flux", 50)


def test_sets_are_written_out_once_each_with_the_reference_first():
    names = methods.expand(["equal:5", "zcache:5", "weights:5"], "mini-flux", 50)

    assert names[0] == "uncached" and len(names) == len(set(names))
    assert {"steps:11", "unipc:11", "dpm:11", "zcache:5", "zcache:5,weight=linear"} <= set(names)
    assert all(methods.parse(name, 50) for name in names)


@pytest.mark.parametrize("model", [*printed.TABLES, *printed.STANDS_FOR])
def test_every_row_of_the_paper_that_is_made_here_is_a_method(model):
    assert all(methods.parse(name, 50) for name in methods.expand(["paper"], model, 50))


def test_the_tables_speedups_are_those_that_the_paper_prints():
    """Table 1: 6.22 times at N = 7; Table 2: 5.53 at N = 9; Table 3: 6.20 at N = 7."""
    wanted = {"dit-xl-2": ("z-cache/7", 6.22), "flux-dev": ("z-cache/9", 5.53)}
    wanted["hunyuan-video"] = ("z-cache/7", 6.20)
    for model, (row, speedup) in wanted.items():
        tflops = {r.method: r.values["tflops"] for r in printed.rows(model)}
        found = tflops["uncached"] / tflops[f"row:{model}/{row}"]
        assert found == pytest.approx(speedup, abs=0.011)


def test_the_papers_numbers_stand_beside_ours_and_its_other_rows_below():
    own = {"method": "row:flux-dev/z-cache/9", "psnr": 21.3, "psnr_interval": 0.4}
    result = {"settings": {"model": "flux-dev"}, "methods": [own]}

    written = table.table(result, {})

    assert "| `row:flux-dev/z-cache/9` (Z-Cache (N=9)) | 21.30 ± 0.40 (paper 29.17) |" in written
    assert "| ToCa (N=12), not run | (paper 28.73) |" in written


def test_names_of_methods_make_different_files():
    names = ["zcache:5,weight=linear", "zcache:5", "row:flux-dev/z-cache/9", "a%2F", "a/"]
    assert len({file_name(name) for name in names}) == len(names)
    assert not any("/" in file_name(name) for name in names)
