"""Who a visitor is, and that one has few runs."""

import json
import threading
import urllib.error
import urllib.request
from types import SimpleNamespace

import gradio as gr
import pytest

from zcache.app import guard, visitors
from zcache.models.request import RequestError


def refused(match: str) -> None:
    with pytest.raises(RequestError, match=match), visitors.admitted("visitor"):
        pass


@pytest.mark.parametrize(
    ("peer", "forwarded", "who"),
    [
        ("127.0.0.1", None, "session"),  # a laptop
        ("192.168.1.7", None, "session"),  # its neighbour
        ("8.8.8.8", None, "8.8.8.8"),  # served without a proxy
        ("8.8.8.8", "9.9.9.9", "8.8.8.8"),  # what a stranger claims is not believed
        ("10.16.3.80", "8.8.8.8", "8.8.8.8"),  # a Space
        ("10.16.3.80", "9.9.9.9, 8.8.8.8, 10.0.0.1", "8.8.8.8"),  # 9.9.9.9 is made up
        ("10.16.3.80", "2001:4860:4860::8888", "2001:4860:4860::/64"),
        ("10.16.3.80", "2001:4860:4860:0:1:2:3:4", "2001:4860:4860::/64"),  # the same visitor
        ("10.16.3.80", "::ffff:8.8.8.8", "8.8.8.8"),
        ("10.16.3.80", "unknown, <b>", "session"),
        ("testclient", "", "session"),
    ],
)
def test_a_visitor_is_the_nearest_public_address_or_the_session(peer, forwarded, who, monkeypatch):
    monkeypatch.setenv("SPACE_ID", "somebody/zcache")
    headers = {} if forwarded is None else {"x-forwarded-for": forwarded}
    request = SimpleNamespace(
        headers=headers, client=SimpleNamespace(host=peer), session_hash="session"
    )

    assert visitors.visitor(request) == who


def test_a_forwarded_address_is_hearsay_where_there_is_no_proxy(monkeypatch):
    for name in ("SPACE_ID", guard.PROXY_VARIABLE):
        monkeypatch.delenv(name, raising=False)
    request = SimpleNamespace(
        headers={"x-forwarded-for": "8.8.8.8"},
        client=SimpleNamespace(host="127.0.0.1"),
        session_hash="session",
    )

    assert visitors.visitor(request) == "session"
    monkeypatch.setenv(guard.PROXY_VARIABLE, "1")
    assert visitors.visitor(request) == "8.8.8.8"


def test_a_visitor_has_few_runs_at_once_and_others_are_not_in_the_way():
    runs = [visitors.admitted("visitor") for _ in range(visitors.AT_ONCE)]
    for run in runs:
        run.__enter__()

    refused("you have 4 runs in progress")
    with visitors.admitted("someone else"):
        pass
    for run in runs:
        run.__exit__(None, None, None)
    with visitors.admitted("visitor"):
        pass
    assert not visitors._running


def test_a_visitor_starts_so_many_runs_in_a_while(monkeypatch):
    clock = iter(range(10**6))
    monkeypatch.setattr(visitors.time, "monotonic", lambda: float(next(clock)))
    monkeypatch.setattr(
        visitors, "_started", type(visitors._started)(visitors._started.default_factory)
    )
    for _ in range(visitors.STARTS):
        with visitors.admitted("visitor"):
            pass

    refused("you have started 60 runs in 5 minutes.* try again in 240 seconds")
    with visitors.admitted("someone else"), visitors.admitted(""):
        pass
    for _ in range(visitors.WHILE):
        next(clock)
    with visitors.admitted("visitor"):
        pass
    assert list(visitors._started) == ["visitor"]


def test_one_visitor_does_not_fill_the_queue(monkeypatch):
    """Seven calls of one address wait for a device that is held; another's is still taken."""
    monkeypatch.setenv("SPACE_ID", "somebody/zcache")
    go_on = threading.Event()
    with gr.Blocks() as demo:
        gr.Button().click(lambda: go_on.wait(60), None, None, concurrency_limit=1)
    demo.queue(max_size=20)
    visitors.share_queue(demo)
    _, url, _ = demo.launch(prevent_thread_lock=True, quiet=True)

    def join(address: str, session: str) -> tuple[int, str]:
        body = json.dumps({"data": [], "fn_index": 0, "session_hash": session}).encode()
        asked = urllib.request.Request(
            f"{url}gradio_api/queue/join",
            body,
            {"content-type": "application/json", "x-forwarded-for": address},
        )
        try:
            with urllib.request.urlopen(asked, timeout=60) as answer:
                return answer.status, answer.read().decode()
        except urllib.error.HTTPError as error:
            return error.code, error.read().decode()

    try:
        answers = [join("8.8.8.8", f"s{number}") for number in range(visitors.WAITING + 4)]
        other = join("9.9.9.9", "t")
    finally:
        go_on.set()
        demo.close()

    refused = [said for status, said in answers if status != 200]
    assert 3 <= len(refused) <= 4  # one of those taken may run already
    assert "You have 6 runs waiting, the most that one visitor may have" in refused[0]
    assert other[0] == 200
