import pytest

from zcache import ZCacheConfig, enable, recommended
from zcache.models import loading
from zcache.models.request import checked

from .. import pipelines


@pytest.mark.parametrize("case", pipelines.CASES, ids=str)
def test_a_pipeline_without_settings_gets_those_of_its_sampler(case):
    pipe = case.build()
    handle = enable(pipe)
    handle.disable()

    assert handle.config == recommended(pipe) == ZCacheConfig()
    assert recommended(pipe, 4, order=0) == ZCacheConfig(interval=4, order=0)


def test_a_request_means_the_same_settings_as_the_pipeline_it_is_for(tiny_pipes, tinies):
    for kind, pipe in tiny_pipes.items():
        subject = {"label": "0"} if kind == "class" else {"prompt": "a star"}
        request = loading.asked(loading.KNOWN[tinies[kind]], interval=7, **subject)
        assert request.config() == recommended(pipe, 7)


def test_an_order_that_is_asked_for_stands():
    asked = {"kind": "class", "labels": {"any": 0}, "label": 0}

    assert [checked(**asked, order=n).config().order for n in (0, 1, 3, None)] == [0, 1, 3, 1]
