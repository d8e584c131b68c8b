"""Names that users may add, and take away again."""

from __future__ import annotations

import pytest

from zcache import ConfigError, bases, schedule, weights


@pytest.mark.parametrize(
    ("table", "name"), [(weights, "automatic"), (weights, "fitted"), (bases, "automatic")]
)
def test_a_name_with_a_meaning_of_its_own_is_not_given_away(table, name) -> None:
    before = table.names()
    with pytest.raises(ConfigError, match=f"'{name}' has a meaning of its own; choose another"):
        table.register(name)(lambda j, n: 0.0)
    assert table.names() == before


@pytest.mark.parametrize("table", [weights, bases, schedule])
@pytest.mark.parametrize("name", ["nope", None, []])
def test_to_forget_an_unknown_name_lists_the_known_ones(table, name) -> None:
    with pytest.raises(ConfigError, match="is unknown; choose one of: "):
        table.unregister(name)
