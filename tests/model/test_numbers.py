"""Which numbers of callers are taken, and which are refused."""

from __future__ import annotations

import math
from typing import Any

import pytest

from llmspellfs.config import CENTURY_SECONDS, MOST
from llmspellfs.errors import InvalidValue
from llmspellfs.model import numbers


@pytest.mark.parametrize("number", [-1, MOST + 1, 1.0, True, "1", None, math.nan])
def test_what_no_column_holds_is_no_whole_number(number: Any) -> None:
    with pytest.raises(InvalidValue, match="n: expected a whole number"):
        numbers.whole("n", number)


def test_a_page_may_have_no_end() -> None:
    assert numbers.page(None, 0) == (None, 0)
    assert numbers.page(MOST, MOST) == (MOST, MOST)
    for limit, offset in ((-1, 0), (0, None), (0, -1), (MOST + 1, 0)):
        with pytest.raises(InvalidValue):
            numbers.page(limit, offset)


@pytest.mark.parametrize("number", [-1, -math.inf, math.nan])
def test_no_time_is_less_than_nothing(number: float) -> None:
    with pytest.raises(InvalidValue, match="grace: expected a number of seconds"):
        numbers.seconds("grace", number)


def test_more_than_a_century_is_for_ever() -> None:
    assert numbers.seconds("grace", 3.5) == 3.5
    assert numbers.seconds("grace", math.inf) == numbers.seconds("grace", 10**30) == CENTURY_SECONDS
