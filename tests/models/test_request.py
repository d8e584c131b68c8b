import math

import pytest

from zcache import ConfigError
from zcache.models.request import APP, TURNING, Request, RequestError, checked


def test_the_defaults_are_those_of_the_configuration():
    request = checked(prompt="a cat")

    assert request == Request("a cat")
    assert request.config().interval == request.interval


def test_a_prompt_is_stripped_and_whole_floats_count_as_whole():
    request = checked(APP, prompt="  a cat\n", interval=4.0, seed=7.0)

    assert (request.prompt, request.interval, request.seed) == ("a cat", 4, 7)
    assert isinstance(request.interval, int)


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        ({"interval": 0}, "interval is 0; .* 1 to 25"),
        ({"interval": 2.5}, "interval is 2.5; .* 1 to 25"),
        ({"interval": 26}, "interval is 26; .* 1 to 25"),
        ({"interval": math.nan}, "interval is nan"),
        ({"interval": math.inf}, "interval is inf"),
        ({"interval": "5"}, "interval is '5'"),
        ({"interval": True}, "interval is True"),
        ({"interval": None}, "interval is empty"),
        ({"steps": 9}, "steps is 9; .* 10 to 50"),
        ({"steps": 51}, "steps is 51; .* 10 to 50"),
        ({"seed": -1}, "seed is -1; .* 0 to 2147483647"),
        ({"seed": 2**31}, "seed is 2147483648"),
        ({"order": 7}, "order is 7"),
        ({"base": "guess"}, "base is 'guess'; .* taylorseer, fora, damped, teacache"),
        ({"base": ["fora"]}, "base is "),
        ({"weight": "heavy"}, "weight is 'heavy'; .* logarithmic"),
        ({"granularity": "atom"}, "granularity is 'atom'; .* stack"),
        ({"reflect": 1}, "reflect is 1; .* true or false"),
        ({"prompt": " \n "}, "prompt is empty; .* 1 to 500"),
        ({"prompt": "x" * 501}, "prompt has 501 characters; at most 500"),
        ({"prompt": None}, "prompt is None; it must be text"),
        ({"prompt": "a\x00b"}, "U\\+0000"),
        ({"prompt": "a\ud800b"}, "U\\+D800"),
        ({"height": 130}, "height is 130; it must be divisible by 16: choose 128 or 144"),
        ({"width": 32}, "width is 32; .* 64 to 2048"),
        ({"colour": "red"}, "unknown setting 'colour'"),
        ({"frames": 17}, "frames is 17, but a model of the kind 'image' has none: leave it out"),
        ({"label": "dog"}, "class is 'dog', but a model of the kind 'image' has none"),
    ],
)
def test_a_bad_value_is_named_with_its_limit(bad, message):
    with pytest.raises(RequestError, match=message):
        checked(APP, **({"prompt": "a cat"} | bad))


def test_the_command_line_may_take_more_steps_than_the_app():
    assert checked(prompt="a cat", steps=4, interval=2).steps == 4


def test_an_interval_above_the_steps_is_refused():
    with pytest.raises((RequestError, ConfigError), match=r"interval is 20; .* 1 to 12"):
        checked(prompt="a cat", steps=12, interval=20)


def test_a_long_bad_value_is_not_repeated_in_full():
    with pytest.raises(RequestError) as caught:
        checked(prompt="a cat", base="x" * 10_000)

    assert len(str(caught.value)) < 300


LABELS = {"red circle": 0, "blue star": 3, "azure star": 3}


@pytest.mark.parametrize("value", ["blue star", " azure star ", 3, "3"])
def test_a_class_is_a_name_or_a_number(value):
    request = checked(APP, "class", LABELS, label=value)

    assert (request.kind, request.label, request.prompt) == ("class", 3, "")


@pytest.mark.parametrize("value", ["dog", "1", 1, -1, True, None, 3.5, ""])
def test_a_class_that_is_not_there_is_named_with_those_that_are(value):
    message = f"class is {value!r}; it must be one of red circle, .* or a number from 0 to 3"
    with pytest.raises(RequestError, match=message):
        checked(APP, "class", LABELS, label=value)


@pytest.mark.parametrize("value", ["9" * 5000, 10**5000], ids=["text", "number"])
def test_a_class_of_very_many_digits_is_refused_in_short(value):
    with pytest.raises(RequestError, match=r"^class is .{1,60}; it must be one of red circle"):
        checked(APP, "class", LABELS, label=value)


def test_of_many_classes_the_near_ones_are_named():
    labels = {f"fish {number}": number for number in range(998)} | {"goldfish": 998, "hen": 999}

    with pytest.raises(RequestError, match=r"one of 1000 names, such as goldfish; .* 0 to 999"):
        checked(APP, "class", labels, label="goldfisch")


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        ({"frames": 16}, "frames is 16; it must be 4k \\+ 1, such as 17: choose 13 or 17"),
        ({"frames": 6}, "choose 5 or 9"),
        ({"frames": 69}, "frames is 69; .* 5 to 65"),
        ({"frames": 5.5}, "frames is 5.5"),
        ({"fps": 61}, "fps is 61; .* 1 to 60"),
        ({"label": 3}, "class is 3, but a model of the kind 'video' has none"),
        ({"prompt": ""}, "prompt is empty"),
    ],
)
def test_a_bad_clip_is_named_with_its_limit(bad, message):
    with pytest.raises(RequestError, match=message):
        checked(APP, "video", **({"prompt": "a cat"} | bad))


@pytest.mark.parametrize(("kind", "subject"), [("image", "prompt"), ("class", "class")])
def test_a_missing_subject_is_asked_for(kind, subject):
    with pytest.raises(RequestError, match=f"{subject} is missing; a model of the kind '{kind}'"):
        checked(APP, kind, LABELS)


def test_a_clip_keeps_the_models_default_length():
    assert checked(APP, "video", prompt="a cat").frames is None


@pytest.mark.parametrize("sign", TURNING)
def test_what_turns_the_text_around_it_is_refused_and_the_rest_of_unicode_is_not(sign):
    said = f"prompt holds U\\+{ord(sign):04X}, which turns the direction of the text around it; .*: remove it"
    with pytest.raises(RequestError, match=said):
        checked(prompt=f"a {sign}cat")
    for prompt in ("قطة حمراء", "חתול אדום", "一只猫", "👩‍🚀 on a horse", "a\tb\nc"):
        assert checked(prompt=prompt).prompt == prompt


def test_an_interval_above_the_steps_is_refused_with_the_steps_as_the_reason():
    with pytest.raises(RequestError, match="from 1 to 10, the number of steps: choose"):
        checked(APP, prompt="a", steps=10, interval=11)
    with pytest.raises(RequestError, match="from 1 to 25: choose"):
        checked(APP, prompt="a", steps=50, interval=26)


CLASSES = {"face": 0, "hand": 1, "leaf": 3}


@pytest.mark.parametrize("value", ["leaf", 3, 3.0, "3", " 3 "])
def test_a_class_is_its_name_or_its_number_as_any_whole_number_is(value):
    assert checked(APP, "class", CLASSES, label=value).label == 3


@pytest.mark.parametrize(
    "value", ["\u0663", "\uff13", "3.0", 3.5, float("nan"), float("inf"), 2.0, True, "²", "x", None]
)
def test_what_is_no_class_is_refused(value):
    with pytest.raises(
        RequestError, match=r"class is .*; it must be one of face, hand, leaf, or a"
    ):
        checked(APP, "class", CLASSES, label=value)
