"""So much may be inside, in all and of one model; who is sent away is told when to come again."""

from __future__ import annotations

from contextlib import ExitStack

import pytest

from service.errors import OverloadedError
from service.inference.meters import Meters
from service.inference.room import Bounds, Room


class Waiting(Room):
    """A room whose wait a test sets."""

    def __init__(self, wait_s: float = 0.0) -> None:
        super().__init__(Bounds(inputs=10, inputs_of_one=6, wait_s=1.0), lambda: self.seconds, Meters())
        self.seconds = wait_s


def test_one_model_cannot_take_all_the_room() -> None:
    with ExitStack() as inside:
        bounded = Waiting()
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
    bounded = Waiting(wait_s=1_000)
    with bounded.taken("one", 100), pytest.raises(OverloadedError), bounded.taken("other", 1):
        pass


def test_what_would_wait_too_long_is_refused_and_of_one_model_sooner() -> None:
    bounded = Waiting()
    with bounded.taken("one", 2):
        for wait_s, admitted in ((0.74, {"one", "other"}), (0.9, {"other"}), (1.1, set())):
            bounded.seconds = wait_s
            assert {name for name in ("one", "other") if is_admitted(bounded, name)} == admitted


def test_a_wait_that_is_for_other_models_counts_less_against_ones_own() -> None:
    bounded = Waiting()
    with bounded.taken("one", 2), bounded.taken("other", 2):
        bounded.seconds = 0.9
        assert is_admitted(bounded, "one")


def test_who_cannot_wait_so_long_is_refused_at_once() -> None:
    bounded = Waiting(wait_s=0.5)
    with bounded.taken("one", 2):
        assert is_admitted(bounded, "one", patience_s=0.6)
        assert not is_admitted(bounded, "one", patience_s=0.4)


@pytest.mark.parametrize(("wait_s", "told"), [(0, 1), (0.6, 1), (2.5, 3), (1_000, 60)])
def test_who_is_sent_away_is_told_when_there_will_be_room(wait_s: float, told: int) -> None:
    bounded = Waiting(wait_s)
    with (
        bounded.taken("one", 6),
        pytest.raises(OverloadedError, match=f"in {told} s") as caught,
        bounded.taken("one", 1),
    ):
        pass
    assert caught.value.retry_after_s == told


def is_admitted(room: Room, digest: str, patience_s: float = 60) -> bool:
    try:
        with room.taken(digest, 1, patience_s):
            return True
    except OverloadedError:
        return False
