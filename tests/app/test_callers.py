"""A run of a program ends with its caller: cancelled, or gone, it leaves the device to the next."""

import subprocess
import sys
import threading
import time

import pytest
from gradio_client import Client

from zcache.app import callers, device, engine

STEPS = 50
RUN = STEPS + 10 + 90  # passes, in about: plain, in full, and the walk of both cached sides
PATIENCE = 60  # seconds
PROGRAM = """
import sys
from gradio_client import Client
client = Client(sys.argv[1], verbose=False)
job = client.submit(prompt=sys.argv[2], steps=50, api_name="/compare_image")
job.result()
"""


class Slowed:
    """Counts the passes of the image model, each of which takes a while."""

    def __init__(self):
        self.passes = 0

    def __call__(self, *_):
        self.passes += 1
        time.sleep(0.1)

    def begun(self):
        until(lambda: self.passes > 3)


def until(true):
    """Return once it is `true`."""
    end = time.monotonic() + PATIENCE
    while not true():
        assert time.monotonic() < end, "it never came"
        time.sleep(0.02)


def named():
    """The runs of programs that are not over."""
    return [name for name in device._stops if name.startswith("event ")]


@pytest.fixture
def slowed(served):
    counting = Slowed()
    hook = engine.of("image").pipeline().transformer.register_forward_pre_hook(counting)
    yield counting
    hook.remove()


def submitted(client, prompt, endpoint="/compare_image"):
    if endpoint == "/compare_image":
        return client.submit(prompt=prompt, steps=STEPS, api_name=endpoint)
    return client.submit(kind="image", subject=prompt, steps=STEPS, api_name=endpoint)


def cancel(job):
    """Cancel it, once its client knows the event: before, the server is asked to cancel none."""
    until(lambda: job.communicator.event_id)
    job.cancel()


@pytest.mark.parametrize("endpoint", ["/compare_image", "/three_pictures", "/sweep"])
def test_a_job_that_is_cancelled_ends_at_its_next_pass(served, slowed, endpoint):
    job = submitted(Client(served, verbose=False), f"cancelled {endpoint}", endpoint)
    slowed.begun()
    cancel(job)
    until(lambda: not named())

    assert slowed.passes < RUN


def test_a_job_that_is_cancelled_while_it_waits_for_the_device_never_has_it(served, slowed):
    first = submitted(Client(served, verbose=False), "the first one")
    slowed.begun()
    second = submitted(Client(served, verbose=False), "one that waits")
    until(lambda: len(named()) == 2)
    cancel(second)
    until(lambda: len(named()) == 1)
    cancel(first)
    until(lambda: not named())

    assert slowed.passes < RUN


def test_the_run_of_a_program_that_dies_ends(served, slowed):
    program = subprocess.Popen([sys.executable, "-c", PROGRAM, served, "of a program that dies"])
    slowed.begun()
    program.kill()
    program.wait()
    until(lambda: not named())

    assert slowed.passes < RUN


def test_an_equal_run_of_another_caller_goes_on(served, slowed):
    one, other = Client(served, verbose=False), Client(served, verbose=False)
    first = submitted(one, "of two callers")
    slowed.begun()
    second = submitted(other, "of two callers")
    until(lambda: len(named()) == 2)
    cancel(first)

    assert second.result(timeout=PATIENCE)[-1]["num_steps"] == STEPS


def test_two_jobs_of_one_program_have_names_of_their_own_and_leave_none(served, slowed):
    client = Client(served, verbose=False)
    jobs = [client.submit(prompt=f"job {i}", steps=10, api_name="/compare_image") for i in range(2)]
    until(lambda: len(named()) == 2)

    assert [job.result(timeout=PATIENCE)[-1]["num_steps"] for job in jobs] == [10, 10]
    assert named() == []


def test_a_thread_that_begins_after_its_event_ended_stops_at_once():
    def late():
        callers.LocalContext.event_id.set("gone")
        run = callers.begin()
        with pytest.raises(device.StoppedError):
            device.check(run)
        device.forget(run)
        stopped.append(run)

    stopped = []
    callers._give_up("gone")
    thread = threading.Thread(target=late)
    thread.start()
    thread.join()

    assert stopped == ["event gone"]


def test_outside_of_the_queue_there_is_nothing_to_name():
    assert callers.begin() == ""
