"""So many inputs may be inside, in all and of one model; who is sent away is told when to come again."""

from __future__ import annotations

from contextlib import ExitStack

import pytest

from service.errors import OverloadedError
from service.inference.meters import Meters
from service.inference.room import Room


def room(takes_s: float = 0.0) -> Room:
    return Room(10, 6, lambda count: takes_s * count, Meters())


def test_one_model_cannot_take_all_the_room() -> None:
    with ExitStack() as inside:
        bounded = room()
        inside.enter_context(bounded.taken("one", 4))
        with pytest.raises(OverloadedError) as caught, bounded.taken("one", 3):
            pass
        assert caught.value.code == "model_overloaded"
        inside.enter_context(bounded.taken("other", 6))
        with pytest.raises(OverloadedError) as caught, bounded.taken("third", 1):
            pass
        assert caught.value.code == "overloaded"
    assert bounded.inside == 0
    with bounded.taken("third", 1):
        assert bounded.inside == 1


def test_what_is_alone_may_be_larger_than_the_room() -> None:
    bounded = room()
    with bounded.taken("one", 100), pytest.raises(OverloadedError), bounded.taken("other", 1):
        pass


@pytest.mark.parametrize(("takes_s", "told"), [(0, 1), (0.1, 1), (0.5, 3), (1_000, 60)])
def test_who_is_sent_away_is_told_when_there_will_be_room(takes_s: float, told: int) -> None:
    bounded = room(takes_s)
    with (
        bounded.taken("one", 6),
        pytest.raises(OverloadedError, match=f"in {told} s") as caught,
        bounded.taken("one", 1),
    ):
        pass
    assert caught.value.retry_after_s == told
