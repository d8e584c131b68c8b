"""What a stranger can send to a running app: `python -m tests.app.attack http://127.0.0.1:7860`.

Raw and malformed calls, foreign files, guessed events, markup, dropped connections, many clients at once
and thousands of new sessions; memory and disk are looked at where the server runs on this machine. Prints
what was counted as JSON and ends with 1 if anything did not hold. `--small` is what the tests send.
"""

from __future__ import annotations

import argparse
import http.client
import json
import os
import random
import re
import socket
import sys
import tempfile
import threading
import time
import urllib.parse
import uuid
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .bad_input import ODD
from .test_fuzz import INSIDE

CANARY = "two red circles, canary 7f3a91"  # a prompt of somebody else
FOREIGN = re.compile(r"root:[x*]?:0:0|\[extensions\]|BEGIN [A-Z ]*PRIVATE KEY|PATH=")
OWN_FILE = re.compile(
    r'"(path|url)": ?"[^"]*/gradio/[0-9a-f]{64}/[^"/]*"'
)  # how gradio names a result
MEGABYTE = 1_000_000
PATHS = (
    "/etc/passwd", "../../../../etc/passwd", "..%2f..%2f..%2fetc%2fpasswd", "%2fetc%2fpasswd",
    "....//....//etc/passwd", "/proc/self/environ", "/proc/self/cmdline", "~/.ssh/id_rsa",
    "file:///etc/passwd", "//etc/passwd", "C:\\\\windows\\\\win.ini", "/etc/passwd%00.png",
    "http://127.0.0.1:1/x.png", "http://169.254.169.254/latest/meta-data/", "pyproject.toml",
)  # fmt: skip
ROUTES = (
    "gradio_api/file={}", "file={}", "gradio_api/proxy={}", "static/{}", "assets/{}",
    "gradio_api/stream/a/{}", "theme.css/{}", "custom_component/{}/client/component/index.js",
)  # fmt: skip
XSS = (
    "<script>alert(1)</script>", "<img src=x onerror=alert(1)>", "\"><svg onload=alert(1)>",
    "javascript:alert(1)", "<iframe src=javascript:alert(1)>", "{{7*7}}", "${7*7}",
    "</textarea><script>alert(1)</script>", "<a href='data:text/html,<script>'>", "<b onmouseover=a>",
)  # fmt: skip


@dataclass(frozen=True)
class Sizes:
    """How much is sent."""

    raw: int = 2000
    sessions: int = 2000
    clients: int = 100
    guesses: int = 200
    dropped: int = 20
    markup: int = len(XSS)


SMALL = Sizes(raw=30, sessions=20, clients=4, guesses=4, dropped=2, markup=1)


class Target:
    """An app at an address, spoken to without gradio's client."""

    def __init__(self, url: str) -> None:
        parts = urllib.parse.urlsplit(url)
        self.host, self.port = parts.hostname or "127.0.0.1", parts.port or 80
        config = json.loads(self.ask("GET", "config")[1])
        named = {one["api_name"]: one["id"] for one in config["dependencies"] if one["api_name"]}
        self.handlers = {name: named[name] for name in ("compare_image", "compare_class", "plan")}
        self.most = max(one["id"] for one in config["dependencies"])
        info = json.loads(self.ask("GET", "gradio_api/info")[1])["named_endpoints"]
        self.defaults = {
            name: [one["parameter_default"] for one in info[f"/{name}"]["parameters"]]
            for name in self.handlers
        }

    def ask(self, method: str, path: str, body: Any = None, timeout: float = 60) -> tuple[int, str]:
        """Return status and text of one request; a body that is not bytes is sent as JSON."""
        connection = http.client.HTTPConnection(self.host, self.port, timeout=timeout)
        data = body if body is None or isinstance(body, bytes) else json.dumps(body).encode()
        try:
            connection.request(method, f"/{path}", data, {"content-type": "application/json"})
            answer = connection.getresponse()
            return answer.status, answer.read(5 * MEGABYTE).decode("utf-8", "replace")
        except (http.client.HTTPException, ConnectionResetError) as error:
            return 0, f"the server ended the connection ({type(error).__name__})"
        finally:
            connection.close()

    def call(self, handler: int, data: Any, session: str, timeout: float = 300) -> str:
        """Queue a call and return the messages up to its end, or why it was not queued."""
        call = {"data": data, "fn_index": handler, "session_hash": session}
        status, said = self.ask("POST", "gradio_api/queue/join", call)
        return said if status != 200 else said + "".join(self.messages(session, timeout))

    def messages(self, session: str, timeout: float) -> Iterator[str]:
        """Yield what a session is told, until its call is over."""
        connection = http.client.HTTPConnection(self.host, self.port, timeout=timeout)
        try:
            connection.request("GET", f"/gradio_api/queue/data?session_hash={session}")
            answer = connection.getresponse()
            while line := answer.readline().decode("utf-8", "replace"):
                yield line
                if '"process_completed"' in line or '"close_stream"' in line:
                    return
        except TimeoutError:
            yield "TIMEOUT"
        finally:
            connection.close()

    def draw(self, prompt: str = "a red circle", timeout: float = 600) -> str:
        """Make one short comparison in a new session."""
        data = list(self.defaults["compare_image"])
        data[0], data[5] = prompt, 10  # steps
        return self.call(self.handlers["compare_image"], data, uuid.uuid4().hex[:11], timeout)


class Attack:
    """One attack; `counted` is what was met, `broken` what did not hold."""

    def __init__(self, url: str, sizes: Sizes, seed: int = 0) -> None:
        self.target, self.sizes, self.rng = Target(url), sizes, random.Random(seed)
        self.counted: Counter[str] = Counter()
        self.broken: list[str] = []

    def run(self) -> dict[str, Any]:
        """Send everything; return what was counted, and what did not hold."""
        self._works("before")
        self.target.draw(CANARY)
        for part in (self.raw, self.files, self.events, self.markup, self.dropped, self.crowd):
            part()
            self._works(f"after {part.__name__}")
        self.sessions()
        return {**self.counted, "broken": self.broken[:20]}

    def raw(self) -> None:
        """Calls that are malformed, of any handler, with any data."""
        bodies = [b"", b"[]", b"{", b"[" * 5000, b"\xff\xfe", b"null", b'{"data":1}', b"x" * 2000]
        for _ in range(self.sizes.raw):
            way, session = self.rng.random(), f"raw{self.rng.randrange(20)}"
            handler = self.rng.randint(-2, self.target.most + 3)
            data = [self.rng.choice(ODD) for _ in range(self.rng.randint(0, 9))]
            if way < 0.25:
                path = self.rng.choice(
                    ("queue/join", "run/predict", "call/plan", "reset", "cancel")
                )
                said = self.target.ask("POST", f"gradio_api/{path}", self.rng.choice(bodies))[1]
            elif way < 0.85:
                call = {"data": data, "fn_index": handler, "session_hash": session}
                call |= {"event_data": self.rng.choice(ODD), "trigger_id": self.rng.choice(ODD)}
                said = self.target.ask("POST", "gradio_api/queue/join", call)[1]
            else:
                name = self.rng.choice(list(self.target.handlers))
                data = [self.rng.choice((one, *ODD)) for one in self.target.defaults[name]]
                data[5] = self.rng.choice((51, "x", None, -1))  # steps: nothing is to be drawn
                said = self.target.call(self.target.handlers[name], data, uuid.uuid4().hex[:11])
            self._look("raw calls", said)

    def files(self) -> None:
        """Files of the server that are not the app's."""
        for route in ROUTES:
            for path in PATHS:
                said = self.target.ask("GET", route.format(urllib.parse.quote(path, safe="%/:")))[1]
                self._look("files asked for", said)

    def events(self) -> None:
        """Events and sessions of others, guessed."""
        for _ in range(self.sizes.guesses):
            event = uuid.UUID(int=self.rng.getrandbits(128)).hex
            for path in (
                f"gradio_api/call/compare_image/{event}",
                f"gradio_api/queue/data?session_hash={event[:11]}",
            ):
                try:
                    said = self.target.ask("GET", path, timeout=0.2)[1]
                except TimeoutError:
                    said = ""
                self._look("guessed events", said)
                if '"path"' in said:
                    self.broken.append(f"a result of a guessed event: {said[:200]}")

    def markup(self) -> None:
        """Markup as a prompt, a class and a base."""
        for payload in XSS[: self.sizes.markup]:
            prompt = list(self.target.defaults["compare_image"])
            base, label = list(prompt), list(self.target.defaults["compare_class"])
            prompt[0], prompt[5], base[2], label[0] = payload, 10, payload, payload
            for name, data in (
                ("compare_image", prompt),
                ("compare_image", base),
                ("compare_class", label),
            ):
                said = self.target.call(self.target.handlers[name], data, uuid.uuid4().hex[:11])
                self._look("markup", said)
                error = re.search(r'"error": ?"([^"]*)"', said)
                if error and "<" in payload and payload in error[1]:
                    self.broken.append(f"markup is told unescaped: {error[1][:100]}")

    def dropped(self) -> None:
        """Connections that are dropped, silent, or half sent."""
        address = self.target.host, self.target.port
        held = []
        for number in range(self.sizes.dropped):
            join = json.dumps(
                {
                    "data": self.target.defaults["compare_image"],
                    "fn_index": self.target.handlers["compare_image"],
                    "session_hash": f"dropped{number}",
                }
            )
            head = "POST /gradio_api/queue/join HTTP/1.1\r\nhost: a\r\ncontent-type: application/json\r\n"
            whole = f"{head}content-length: {len(join)}\r\n\r\n{join}"
            for sent in ("", head, whole[: len(whole) // 2], whole if number < 2 else ""):
                line = socket.create_connection(address, timeout=10)
                line.sendall(sent.encode())
                held.append(line)
                self.counted["connections dropped"] += 1
        for line in held:
            line.close()

    def crowd(self) -> None:
        """Many clients at once: each gets its picture, or a sentence."""
        told: list[str] = []

        def visit() -> None:
            try:
                told.append(self.target.draw())
            except OSError as error:
                told.append(f"BROKEN {type(error).__name__}: {error}")

        threads = [threading.Thread(target=visit) for _ in range(self.sizes.clients)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        for said in told:
            done = '"success": true' in said or '"success":true' in said
            full = "queue is full" in said.lower() or "503" in said
            self.counted["clients served" if done else "clients told to wait"] += 1
            self._look("clients", said)
            if not done and not full and '"error"' not in said:
                self.broken.append(f"a client was told neither: {said[-200:]}")

    def sessions(self) -> None:
        """Trivial calls of new sessions; then memory and disk are what they were."""
        spare = max(50, self.sizes.sessions // 10)  # what is kept by intent fills first
        for number in range(250 if self.sizes.sessions > 500 else spare):
            self._plan(number)
        memory, disk = self._memory(), self._disk()
        for number in range(self.sizes.sessions):
            self._plan(number)
        self.counted["new sessions"] = self.sizes.sessions
        for what, before, after, most in (
            ("memory", memory, self._memory(), 100 * MEGABYTE),
            ("disk", disk, self._disk(), 50 * MEGABYTE),
        ):
            if before is None or after is None:
                continue
            self.counted[f"{what} grew by MB"] = round((after - before) / MEGABYTE)
            if after - before > most:
                self.broken.append(f"{what} grew by {(after - before) / MEGABYTE:.0f} MB")

    def _plan(self, number: int) -> None:
        data = list(self.target.defaults["plan"])
        data[1] = number % 9 + 1
        said = self.target.call(self.target.handlers["plan"], data, uuid.uuid4().hex[:11])
        self._look("plans", said)

    def _works(self, when: str) -> None:
        said = self.target.draw()
        if '"success": true' not in said and '"success":true' not in said:
            self.broken.append(f"no picture {when}: {said[-300:]}")

    def _look(self, what: str, said: str) -> None:
        """Count an answer, and look for what none may hold."""
        self.counted[what] += 1
        said = OWN_FILE.sub("", said)
        for bad in (INSIDE.search(said), FOREIGN.search(said), re.search(re.escape(CANARY), said)):
            if bad:
                self.broken.append(f"{what}: {bad[0]!r} in {said[:200]}")

    def _memory(self) -> int | None:
        """Bytes that the server holds; None if it does not run here."""
        owner = _owner(self.target.port)
        if owner is None:
            return None
        status = Path(f"/proc/{owner}/status").read_text()
        return int(re.search(r"VmRSS:\s+(\d+)", status)[1]) * 1024  # type: ignore[index]

    def _disk(self) -> int:
        """Bytes of what gradio and the app leave in the folder of temporary files."""
        place = Path(os.environ.get("GRADIO_TEMP_DIR") or Path(tempfile.gettempdir()) / "gradio")
        roots = [place, *Path(tempfile.gettempdir()).glob("zcache-*")]
        return sum(_size(path) for root in roots for path in (root, *root.rglob("*")))


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:  # gone meanwhile
        return 0


def _owner(port: int) -> int | None:
    """The process that listens to a port of this machine."""
    try:
        lines = Path("/proc/net/tcp").read_text().splitlines()[1:]
    except OSError:
        return None
    rows = [line.split() for line in lines]
    inodes = {row[9] for row in rows if row[3] == "0A" and int(row[1].split(":")[1], 16) == port}
    for file in Path("/proc").glob("[0-9]*/fd/*"):
        try:
            if os.readlink(file)[8:-1] in inodes:
                return int(file.parts[2])
        except OSError:
            continue
    return None


def main() -> int:
    """Attack, print what was met, and return 1 if something did not hold."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("url")
    parser.add_argument("--small", action="store_true", help="what the tests send")
    options = parser.parse_args()
    began = time.monotonic()
    met = Attack(options.url, SMALL if options.small else Sizes()).run()
    print(json.dumps(met | {"seconds": round(time.monotonic() - began)}, indent=1))
    return bool(met["broken"])


if __name__ == "__main__":
    sys.exit(main())
