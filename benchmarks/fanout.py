"""What does it cost to bring an update to one more viewer, against nginx with nchan?

N viewers hold a stream each. A panel of 10 kB, a table in which 12 of 95 rows have changed, is posted; when the
last viewer has it, the next is. Measured is the processor time of the server, all its threads, kernel included
(``/proc/…/schedstat``), for each update that one viewer got: pinned to core 0, the load (`fanout_load.c`, compiled)
to core 1. The contenders take turns, round by round, and a ratio is that of two in the same round.

Also: bytes on the wire for each update, and memory for each viewer who waits. A contender that is not installed is a
row that says so; without a C compiler there is no load, and no answer.
"""

from __future__ import annotations

import contextlib
import random
import shutil
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path

from benchmarks.harness import ROOT, Bar, Report, Settings

NCHAN = "nginx + nchan"
NGINX_MODULE = Path("/usr/lib/nginx/modules/ngx_nchan_module.so")
NGINX = """
load_module {module};
worker_processes 1; master_process off; daemon off; pid {folder}/pid; error_log {folder}/error.log error;
worker_rlimit_nofile 20000;
events {{ worker_connections 19000; }}
http {{
    access_log off; nchan_shared_memory_size 512m; client_body_buffer_size 64k; keepalive_requests 1000000;
    client_body_temp_path {folder}/body; proxy_temp_path {folder}/proxy; fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi; scgi_temp_path {folder}/scgi;
    server {{
        listen 127.0.0.1:{port} backlog=4096;
        location = /live {{
            nchan_subscriber eventsource; nchan_channel_id panel; nchan_subscriber_first_message newest;
        }}
        location = /publish {{ nchan_publisher; nchan_channel_id panel; nchan_message_buffer_length 1; }}
    }}
}}
"""


@dataclass(frozen=True)
class Contender:
    name: str
    kind: str = ""
    """Of `benchmarks.fanout_servers`; empty: nginx."""
    coding: str = "identity"
    fast: bool = True

    @property
    def missing(self) -> str | None:
        if not self.kind:
            if shutil.which("nginx") is None or not NGINX_MODULE.exists():
                return "not installed (apt-get install nginx libnginx-mod-nchan)"
        elif self.fast and not (find_spec("uvloop") and find_spec("httptools")):
            return "not installed (pip install uvloop httptools)"
        elif self.kind.startswith("sse-starlette") and find_spec("sse_starlette") is None:
            return "not installed (pip install sse-starlette)"
        return None


OURS, MOUNTED = "livelake serve", "livelake mounted, uvicorn"
CONTENDERS = (
    Contender(NCHAN),
    Contender(OURS, "serve", fast=False),
    Contender("livelake serve, gzip", "serve", "gzip", fast=False),
    Contender("livelake serve, on uvloop", "serve"),
    Contender(MOUNTED, "asgi"),
    Contender("livelake mounted in Starlette", "mounted"),
    Contender("livelake mounted, gzip", "asgi", "gzip"),
    Contender("Starlette, a queue each", "queues"),
    Contender("sse-starlette, bytes", "sse-starlette bytes"),
    Contender("sse-starlette", "sse-starlette"),
)


@dataclass
class Measured:
    """Of one contender at one size, a number a round."""

    us: list[float] = field(default_factory=list)
    bytes: list[float] = field(default_factory=list)
    p50_ms: list[float] = field(default_factory=list)
    p99_ms: list[float] = field(default_factory=list)
    kb: list[float] = field(default_factory=list)


def run(settings: Settings) -> Report:
    report = Report(
        question="What does an update of 10 kB cost the server for each viewer? (ratio: to nchan in the same round)",
        columns=("server", "viewers", "CPU µs", "ratio", "rounds", "bytes", "last viewer p50/p99 ms", "kB/viewer"),
    )
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        load = _compiled(folder)
        if load is None:
            report.notes.append("no C compiler (cc): there is no load, and nothing was measured")
            return report
        (folder / "bodies").write_text("\n".join(panels(64)) + "\n")
        sizes = (50,) if settings.quick else (1_000, 10_000)
        for viewers in sizes:
            _measure(report, settings, viewers, folder, load)
    report.notes.append(
        "`livelake serve` runs on asyncio's own loop, as it does from the command line; the other servers in Python"
        " on uvloop and httptools; core 0 serves, core 1 makes the load"
    )
    return report


def _measure(report: Report, settings: Settings, viewers: int, folder: Path, load: Path) -> None:
    there = [each for each in CONTENDERS if each.missing is None]
    if viewers > 1_000:  # the slow ones are told apart at 1,000
        there = [each for each in there if not each.name.startswith(("sse-", "Starlette"))]
    found = {each.name: Measured() for each in there}
    rounds = min(settings.rounds, 3 if settings.quick else 5)
    shuffle = random.Random(0).shuffle
    for _ in range(rounds):
        shuffle(there)
        for each in there:
            _round(
                each,
                found[each.name],
                viewers,
                max(3, (2_000 if settings.quick else 200_000) // viewers),
                folder,
                load,
            )
    for each in CONTENDERS:
        if each.missing is not None:
            report.rows.append((each.name, f"{viewers:,}", each.missing, *[""] * 5))
        elif each.name in found:
            report.rows.append(_row(each.name, viewers, found))
    report.raw[str(viewers)] = {name: vars(measured) for name, measured in found.items()}
    report.bars.extend(_bars(viewers, found))


def _row(name: str, viewers: int, found: dict[str, Measured]) -> Sequence[str]:
    own = found[name]
    ratios = sorted(_ratios(name, NCHAN, found)) if NCHAN in found else []
    return (
        name,
        f"{viewers:,}",
        f"{statistics.median(own.us):.1f}",
        f"{statistics.median(ratios):.2f}" if ratios else "",
        f"{ratios[0]:.2f}–{ratios[-1]:.2f}" if ratios else "",
        f"{statistics.median(own.bytes):,.0f}",
        f"{statistics.median(own.p50_ms):.0f} / {statistics.median(own.p99_ms):.0f}",
        f"{statistics.median(own.kb):.1f}",
    )


def _ratios(name: str, baseline: str, found: dict[str, Measured]) -> list[float]:
    return [a / b for a, b in zip(found[name].us, found[baseline].us, strict=True)]


def _bars(viewers: int, found: dict[str, Measured]) -> Iterator[Bar]:
    def ratio(name: str, baseline: str) -> float:
        return statistics.median(_ratios(name, baseline, found))

    at = f"{viewers:,} viewers"
    if NCHAN in found:
        for name, limit in ((OURS, 0.8), (MOUNTED, 1.15), ("livelake mounted in Starlette", 1.15)):
            if name in found:
                yield Bar(f"CPU, {name} / nchan, {at}", ratio(name, NCHAN), limit)
    packed, plain = found.get("livelake serve, gzip"), found.get(OURS)
    if packed and plain:
        share = statistics.median(packed.bytes) / statistics.median(plain.bytes)
        yield Bar(f"bytes on the wire in gzip / plain, {at}", share, 1 / 20)
    for name in ("Starlette, a queue each", "sse-starlette, bytes", "sse-starlette"):
        if name in found and MOUNTED in found:
            yield Bar(f"CPU, {MOUNTED} / {name}, {at}", ratio(MOUNTED, name), 0.5)
    if MOUNTED in found:
        yield Bar(f"kB for a viewer who waits, {MOUNTED}, {at}", statistics.median(found[MOUNTED].kb), 12)


def panels(count: int) -> Iterator[str]:
    """Tables of 95 rows, each with 12 rows other than the one before: 10 kB of markup, on one line."""
    source = random.Random(0)
    rows = [source.randrange(10**6) for _ in range(95)]
    for _ in range(count):
        for at in source.sample(range(95), 12):
            rows[at] += source.randrange(-5_000, 5_000)
        cells = "".join(
            f'<tr><th scope="row">Station {at:03d}</th><td class="number">{row:,}</td>'
            f'<td>{"up" if row % 2 else "down"}</td><td class="number">{row / 97:.2f}</td></tr>'
            for at, row in enumerate(rows)
        )
        yield f'<section id="panel-stations" class="panel"><table><tbody>{cells}</tbody></table></section>'


# -------------------------------------------------------------------- one round


def _round(each: Contender, into: Measured, viewers: int, updates: int, folder: Path, load: Path) -> None:
    port = _free_port()
    with _server(each, port, folder) as pid:
        before = _memory_kb(pid)
        command = [str(load), str(port), "/live", "/publish", str(viewers), str(folder / "bodies"), each.coding]
        with subprocess.Popen(
            ["taskset", "-c", "1", *command], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1
        ) as generator:
            assert generator.stdin is not None
            assert generator.stdout is not None
            assert generator.stdout.readline() == "ready\n", f"{each.name}: the load did not begin"
            into.kb.append((_memory_kb(pid) - before) / viewers)
            _ask(generator, max(2, updates // 10))  # what is made once
            spent = _cpu_ns(pid)
            updates, deliveries, size, _wall, p50, p99 = _ask(generator, updates)
            into.us.append((_cpu_ns(pid) - spent) / 1e3 / deliveries)
            into.bytes.append(size / deliveries)
            into.p50_ms.append(p50 / 1e3)
            into.p99_ms.append(p99 / 1e3)
            generator.stdin.close()
            generator.wait(60)


def _ask(generator: subprocess.Popen[str], updates: int) -> list[int]:
    assert generator.stdin is not None
    assert generator.stdout is not None
    generator.stdin.write(f"{updates}\n")
    generator.stdin.flush()
    return [int(word) for word in generator.stdout.readline().split()]


@contextlib.contextmanager
def _server(each: Contender, port: int, folder: Path) -> Iterator[int]:
    if each.kind:
        command = [sys.executable, "-m", "benchmarks.fanout_servers", each.kind, str(port)]
        command += ["--fast"] if each.fast else []
    else:
        (folder / "nginx.conf").write_text(NGINX.format(module=NGINX_MODULE, folder=folder, port=port))
        command = ["nginx", "-c", str(folder / "nginx.conf"), "-p", str(folder), "-e", str(folder / "error.log")]
    with subprocess.Popen(["taskset", "-c", "0", *command], cwd=ROOT) as process:
        try:
            _await_port(port, process)
            time.sleep(0.3)  # whoever began has settled: its memory is the baseline
            yield process.pid  # taskset has become the server
        finally:
            process.send_signal(signal.SIGKILL)  # nothing to lose, and ten thousand connections to close


def _await_port(port: int, process: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        assert process.poll() is None, f"{process.args} ended"
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
            return
        time.sleep(0.05)
    raise TimeoutError(f"{process.args} does not listen")


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as free:
        return int(free.getsockname()[1])


def _cpu_ns(pid: int) -> int:
    """On a core, all threads."""
    return sum(int((task / "schedstat").read_text().split()[0]) for task in Path(f"/proc/{pid}/task").iterdir())


def _memory_kb(pid: int) -> int:
    status = Path(f"/proc/{pid}/status").read_text()
    return int(status.partition("VmRSS:")[2].split()[0])


def _compiled(folder: Path) -> Path | None:
    if shutil.which("cc") is None:
        return None
    made = folder / "load"
    subprocess.run(["cc", "-O2", "-o", made, Path(__file__).parent / "fanout_load.c"], check=True)
    return made
