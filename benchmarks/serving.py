"""How fast a server writes, how soon its first character comes, and what it withstands.

    python benchmarks/serving.py RUN one         # a client alone, against `textgen sample`
    python benchmarks/serving.py RUN many        # 64 clients at once, against one
    python benchmarks/serving.py RUN soak --minutes 10
    python benchmarks/serving.py RUN malformed --count 2000

Each starts a server of its own on a free port. `one` takes turns with `textgen sample`; clients are
threads of this process that read the bytes of the stream, so they too take time from the two cores.
"""

import argparse
import json
import os
import random
import re
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from pathlib import Path

CLIENTS = 64
PROMPT = "The "
BREAKS = (b"", b"{", b"\xff", b"[1]", b"null", b'{"n": 1e999}', b'{"prompt": [[1]]}', b"[" * 5000)
NAMES = "prompt max_tokens temperature top_p n stop seed stream echo logprobs top_k unknown".split()
VALUES = (None, True, -1, 1.5, 10**40, "x", "\ud800", [], [1], [""], {}, {"a": []}, 1e308)


class Server:
    def __init__(self, run: str) -> None:
        self._log = tempfile.NamedTemporaryFile(suffix=".log")  # noqa: SIM115
        command = [sys.executable, "-m", "textgen", "serve", run, "--port", "0"]
        command += ["--max-tokens", "100000"]
        self.process = subprocess.Popen(command, stderr=self._log)
        while not (found := re.search(r"serving on http://([\d.]+):(\d+)", self.log())):
            if self.process.poll() is not None:
                sys.exit(self.log())
            time.sleep(0.1)
        self.address = found[1], int(found[2])

    def log(self) -> str:
        return Path(self._log.name).read_text(encoding="utf-8")

    def connect(self) -> socket.socket:
        return socket.create_connection(self.address, timeout=120)

    def figure(self, name: str) -> float:
        page = self.exchange(b"GET /metrics HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
        return float(re.search(rf"^{name} (\S+)$", page.decode(), re.MULTILINE)[1])

    def exchange(self, sent: bytes, end: bool = False) -> bytes:
        """All that comes back; end: whether the sender hangs up."""
        with self.connect() as connection:
            connection.sendall(sent)
            if end:
                connection.shutdown(socket.SHUT_WR)
            with connection.makefile("rb") as answer:
                return answer.read()

    def memory(self) -> float:
        """Megabytes that the process holds."""
        status = Path(f"/proc/{self.process.pid}/status").read_text()
        return int(re.search(r"VmRSS:\s+(\d+)", status)[1]) / 1024


def request(body: bytes, length: int | None = None) -> bytes:
    head = "POST /v1/completions HTTP/1.1\r\nHost: a\r\nConnection: close\r\n"
    head += f"Content-Type: application/json\r\nContent-Length: {length or len(body)}\r\n\r\n"
    return head.encode() + body


def stream(server: Server, characters: int, leave_after: float = 1e9, **fields: object):
    """Characters, seconds to the first and to the last, and the text."""
    asked = {"prompt": PROMPT, "max_tokens": characters, "stream": True, **fields}
    begin, first, text = time.perf_counter(), None, []
    with server.connect() as connection:
        connection.sendall(request(json.dumps(asked).encode()))
        with connection.makefile("rb") as lines:
            for line in lines:
                if line.startswith(b"data: {"):
                    piece = json.loads(line[6:])["choices"][0]["text"]
                    first = first or time.perf_counter() - begin
                    text.append(piece)
                if time.perf_counter() - begin > leave_after:
                    break
    whole = "".join(text)
    return len(whole), first, time.perf_counter() - begin, whole


def sampled(run: str, characters: int) -> float:
    """Characters per second of `textgen sample` between its first and its last."""
    command = [sys.executable, "-m", "textgen", "sample", run, "-p", PROMPT]
    with subprocess.Popen(
        [*command, "--length", str(characters)], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
    ) as process:
        count = len(os.read(process.stdout.fileno(), 1 << 16))
        begin, before = time.perf_counter(), count
        while read := os.read(process.stdout.fileno(), 1 << 16):
            count += len(read)
        return (count - before) / (time.perf_counter() - begin)


def one(server: Server, options: argparse.Namespace) -> None:
    ours, theirs, firsts = [], [], []
    stream(server, 100)
    for _ in range(options.rounds):
        count, first, seconds, _ = stream(server, options.characters)
        ours.append(count / (seconds - first))
        firsts.append(first)
        theirs.append(sampled(options.run, options.characters))
    ratio = statistics.median(ours) / statistics.median(theirs)
    print(f"one client: {statistics.median(ours):,.0f} chars/s, {ratio:.2f} of textgen sample")
    print(f"  first character: median {1000 * statistics.median(firsts):.1f} ms")


def together(server: Server, characters: int, seeded: bool) -> tuple[float, list[float], list[str]]:
    found: list[tuple] = [()] * CLIENTS

    def client(n: int) -> None:
        found[n] = stream(server, characters, **({"seed": n} if seeded else {}))

    threads = [threading.Thread(target=client, args=(n,)) for n in range(CLIENTS)]
    begin = time.perf_counter()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    seconds = time.perf_counter() - begin
    total = sum(count for count, *_ in found)
    return total / seconds, sorted(f[1] for f in found), [f[3] for f in found]


def many(server: Server, options: argparse.Namespace) -> None:
    stream(server, 100)
    for seeded in (False, True):
        for _ in range(options.rounds):
            count, _, seconds, _ = stream(server, options.characters)
            rate, firsts, texts = together(server, options.characters // 4, seeded)
            p95 = firsts[round(0.95 * CLIENTS) - 1]
            print(
                f"{CLIENTS} clients{', seeded' * seeded}: {rate:,.0f} chars/s,"
                f" {rate * seconds / count:.2f} times one; first character p95 {1000 * p95:.0f} ms"
            )
    alone = [stream(server, options.characters // 4, seed=n)[3] for n in range(CLIENTS)]
    print(f"texts the same alone: {sum(map(str.__eq__, alone, texts))} of {CLIENTS}")


def bad_request(rng: random.Random) -> tuple[bytes, bool]:
    """Bytes to send, and whether the sender hangs up after them."""
    kind = rng.randrange(4)
    if kind == 0:
        return request(rng.choice(BREAKS)), False
    fields = {rng.choice(NAMES): rng.choice(VALUES) for _ in range(rng.randint(1, 4))}
    body = json.dumps({"max_tokens": 3} | fields | {"n": "many"}).encode()
    if kind == 1:
        return request(body), False
    if kind == 2:
        return request(body, length=len(body) + rng.randint(1, 99)), True
    broken = bytearray(body)
    broken[rng.randrange(len(body))] = rng.randrange(128, 256)
    return request(bytes(broken)), False


def malformed(server: Server, options: argparse.Namespace) -> None:
    rng, found = random.Random(options.seed), Counter()
    for _ in range(options.count):
        sent, end = bad_request(rng)
        head, _, body = server.exchange(sent, end).partition(b"\r\n\r\n")
        status = int(head.split()[1])
        found[status] += 1
        if not (400 <= status < 500 and json.loads(body)["error"]["message"]):
            sys.exit(f"{sent!r} got {head!r} {body!r}")
    count = stream(server, 50)[0]
    print(f"{options.count} malformed requests: {dict(found)}; then {count} characters of 50")


def soak(server: Server, options: argparse.Namespace) -> None:
    until = time.monotonic() + 60 * options.minutes
    rights, wrongs, failures = Counter(), Counter(), []

    def client(n: int) -> None:
        rng = random.Random(options.seed + n)
        while time.monotonic() < until:
            try:
                if rng.random() < 0.1:
                    answer = server.exchange(*bad_request(rng))
                    wrongs[answer.split()[1].decode()] += 1
                else:
                    leave = rng.choice((0.05, 0.5, 1e9))
                    stream(server, rng.randint(1, 2000), leave, n=rng.choice((1, 1, 2)))
                    rights["left" if leave < 1 else "read"] += 1
            except Exception as error:
                failures.append(repr(error))

    threads = [threading.Thread(target=client, args=(n,)) for n in range(CLIENTS)]
    for thread in threads:
        thread.start()
    while any(thread.is_alive() for thread in threads):
        print(f"{server.memory():.0f} MB, {sum(rights.values())} requests", flush=True)
        time.sleep(min(30, 10 * options.minutes))
    time.sleep(2)
    print(f"requests {dict(rights)}, bad ones {dict(wrongs)}, failures {Counter(failures)}")
    print(f"open texts at the end: {server.figure('textgen_open_texts'):.0f}")
    statuses = Counter(re.findall(r" /v1/completions (\d+) ", server.log()))
    print(f"statuses {dict(statuses)}, memory {server.memory():.0f} MB")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    modes = {mode.__name__: mode for mode in (one, many, soak, malformed)}
    parser.add_argument("run")
    parser.add_argument("mode", choices=modes)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--characters", type=int, default=8000)
    parser.add_argument("--minutes", type=float, default=10)
    parser.add_argument("--count", type=int, default=2000)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    server = Server(options.run)
    try:
        modes[options.mode](server, options)
    finally:
        server.process.terminate()
        print(f"exit code {server.process.wait()}")


if __name__ == "__main__":
    main()
