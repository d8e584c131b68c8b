"""Equal runs at once are one run."""

import threading
from contextlib import nullcontext

import gradio as gr
import pytest

from zcache.app import sharing
from zcache.app.errors import StoppedError, told


class Waiting:
    """Counts those who wait for another's run; each is a thread that `check`s."""

    def __init__(self):
        self._seen, self._changed = set(), threading.Condition()

    def check(self):
        with self._changed:
            self._seen.add(threading.get_ident())
            self._changed.notify_all()

    def until(self, number):
        """Return once so many have come."""
        with self._changed:
            assert self._changed.wait_for(lambda: len(self._seen) >= number, timeout=60)


def together(number, key, make, waiting):
    """What each of `number` threads got from the shared run, or its exception."""
    got = [None] * number

    def fly(index):
        try:
            got[index] = list(sharing.shared(key, make, waiting.check))
        except Exception as error:
            got[index] = error

    threads = [threading.Thread(target=fly, args=(index,)) for index in range(number)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=60)
    return got


def test_equal_runs_at_once_are_made_once_and_all_see_every_stage():
    made, waiting = [], Waiting()

    def make():
        made.append(1)
        yield "first"
        waiting.until(5)
        yield "last"

    assert together(6, "equal", make, waiting) == [["first", "last"]] * 6
    assert made == [1]
    assert sharing._flights == {}


def test_a_later_equal_run_is_made_again():
    made = []

    def make():
        made.append(1)
        yield "only"

    for _ in range(2):
        assert list(sharing.shared("later", make, lambda: None)) == ["only"]
    assert made == [1, 1]


def test_different_runs_do_not_share():
    assert list(sharing.shared("one", lambda: iter("a"), lambda: None)) == ["a"]
    assert list(sharing.shared("two", lambda: iter("b"), lambda: None)) == ["b"]


def test_a_failure_is_everybodys():
    waiting = Waiting()

    def make():
        waiting.until(2)
        raise ValueError("broken")
        yield

    assert [str(error) for error in together(3, "failing", make, waiting)] == ["broken"] * 3
    assert sharing._flights == {}


@pytest.mark.parametrize("place", [nullcontext, told])
def test_when_its_maker_stops_another_one_makes_the_run(place):
    entered, waiting = threading.Event(), Waiting()

    def stopped():
        entered.set()
        waiting.until(1)
        with place():
            raise StoppedError("stopped")
        yield

    def lead():
        with pytest.raises((StoppedError, gr.Error)):
            list(sharing.shared("taken over", stopped, lambda: None))

    leader = threading.Thread(target=lead)
    leader.start()
    entered.wait(timeout=60)
    follower = list(sharing.shared("taken over", lambda: iter(["mine"]), waiting.check))
    leader.join(timeout=60)

    assert follower == ["mine"]


def test_one_who_waits_can_stop_alone():
    entered, go_on = threading.Event(), threading.Event()

    def make():
        entered.set()
        go_on.wait(timeout=60)
        yield "done"

    got = []
    leader = threading.Thread(
        target=lambda: got.extend(sharing.shared("waiting", make, lambda: None))
    )
    leader.start()
    entered.wait(timeout=60)

    def check():
        raise StoppedError("stopped")

    with pytest.raises(StoppedError):
        list(sharing.shared("waiting", make, check))
    go_on.set()
    leader.join(timeout=60)
    assert got == ["done"]


def test_a_maker_who_goes_away_leaves_nothing_behind():
    stages = sharing.shared("left", lambda: iter([1, 2]), lambda: None)
    next(stages)
    stages.close()

    assert list(sharing.shared("left", lambda: iter([3]), lambda: None)) == [3]


def test_a_turn_is_waited_for_and_the_waiting_can_be_stopped():
    lock = threading.Lock()

    def check():
        raise StoppedError("stopped")

    with lock, pytest.raises(StoppedError), sharing.turn(lock, check):
        pass
    with sharing.turn(lock, check):
        assert lock.locked()
    assert not lock.locked()
