"""``livelake serve`` with tokens: who may listen where, one log-in for all workers, files that change. All real."""

from __future__ import annotations

import asyncio
import os
import re
import subprocess
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest

import livelake
from cli.served import PATIENCE, failed, until
from livelake.cli.access import allowed_hosts
from livelake.errors import UsageError
from livelake.live import LiveLake

READS, OTHER = "just-looking-around-here", "somebody-elses-token-too"


@pytest.fixture
async def lake(tmp_path: Path) -> AsyncIterator[LiveLake]:
    async with livelake.open(f"ducklake:sqlite:{tmp_path}/sales.sqlite") as opened:
        await opened.execute("CREATE TABLE orders (id INTEGER)")
        yield opened


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    made = tmp_path / "shop"
    made.mkdir()
    (made / "livelake.toml").write_text('attach = { sales = "ducklake:sqlite:../sales.sqlite" }')
    (made / "seen.sql").write_text("SELECT count(*) AS seen FROM sales.main.orders")
    return made


@pytest.fixture
def serve(start: Any, folder: Path, lake: LiveLake) -> Callable[..., tuple[str, subprocess.Popen[str]]]:
    def call(*options: str, **variables: str) -> tuple[str, subprocess.Popen[str]]:
        process = start("serve", folder.name, "--port", "0", *options, env=os.environ | variables)
        line = process.stdout.readline()
        found = re.search(r"livelake serves 1 query on (http://\S+/)", line)
        assert found, line + process.communicate()[1]
        return found[1], process

    return call


def get(url: str, token: str | None = None, **headers: str) -> int:
    shown = {} if token is None else {"Authorization": f"Bearer {token}"}
    return httpx.get(url, headers=shown | headers, timeout=PATIENCE).status_code


async def test_reading_needs_the_token_that_the_server_was_started_with(serve: Any) -> None:
    url, process = await asyncio.to_thread(serve, LIVELAKE_TOKEN=READS)
    statuses = [get(f"{url}queries/seen", token) for token in (None, OTHER + "x", READS)]
    assert statuses == [401, 401, 200]
    assert get(f"{url}queries/seen", READS, Host="evil.example") == 421
    assert READS not in " ".join(psutil.Process(process.pid).cmdline())


async def test_a_file_of_tokens_counts_as_soon_as_it_is_written(serve: Any, tmp_path: Path) -> None:
    file = tmp_path / "tokens"
    file.write_text(f"read {READS}")
    file.chmod(0o600)
    url, _ = await asyncio.to_thread(serve, "--tokens", "tokens")
    assert [get(f"{url}queries/seen", token) for token in (READS, OTHER)] == [200, 401]
    file.write_text(f"read {OTHER} user=ada")
    await until(lambda: [get(f"{url}queries/seen", token) for token in (READS, OTHER)] == [401, 200])


async def test_one_log_in_is_one_for_all_workers_and_so_is_a_log_out(serve: Any) -> None:
    url, process = await asyncio.to_thread(serve, "--workers", "2", LIVELAKE_TOKEN=READS)
    async with httpx.AsyncClient(timeout=PATIENCE, limits=httpx.Limits(max_keepalive_connections=0)) as client:
        assert (await client.post(f"{url}login", data={"token": READS})).status_code == 303
        (kept,) = [f"{cookie.name}={cookie.value}" for cookie in client.cookies.jar]

        async def by_worker() -> dict[int, int]:
            """What each worker says to this cookie; the health of those who are let in names the process."""
            said: dict[int, int] = {}
            for _ in range(40):
                answer = await client.get(f"{url}healthz", headers={"Cookie": kept})
                said[answer.json().get("process", 0)] = answer.status_code
            return said

        async with asyncio.timeout(PATIENCE):
            while len(inside := await by_worker()) < 2:
                pass
        assert 0 not in inside
        assert (await client.post(f"{url}logout", headers={"Cookie": kept})).status_code == 303
        async with asyncio.timeout(PATIENCE):
            while set(await by_worker()) != {0}:
                pass
        for _ in range(20):
            assert (await client.get(f"{url}queries/seen", headers={"Cookie": kept})).status_code == 401
    process.terminate()
    await asyncio.to_thread(process.wait, PATIENCE)


async def test_sessions_outlive_a_restart_only_with_a_secret_of_ones_own(serve: Any) -> None:
    secret = "not-a-secret-but-long-enough-for-one"
    cookies = []
    for given in ({"LIVELAKE_SESSION_SECRET": secret}, {}):
        url, process = await asyncio.to_thread(serve, LIVELAKE_TOKEN=READS, **given)
        answer = httpx.post(f"{url}login", data={"token": READS}, timeout=PATIENCE)
        cookies.append(answer.headers["set-cookie"].partition("=")[2].partition(";")[0])
        process.terminate()
        await asyncio.to_thread(process.wait, PATIENCE)
    url, _ = await asyncio.to_thread(serve, LIVELAKE_TOKEN=READS, LIVELAKE_SESSION_SECRET=secret)
    name = "livelake-" + url.rstrip("/").rpartition(":")[2]
    assert [get(f"{url}queries/seen", Cookie=f"{name}={value}") for value in cookies] == [200, 401]


@pytest.mark.parametrize(
    ("options", "variables", "why"),
    [
        (["--host", "0.0.0.0"], {}, "set $LIVELAKE_TOKEN (or --tokens FILE), so that reading needs a token"),
        (["--host", "0.0.0.0"], {"LIVELAKE_PUBLISH_TOKEN": READS}, "add --insecure"),
        (["--token", "short"], {}, "16 to 1,024 visible ASCII characters"),
        ([], {"LIVELAKE_TOKEN": "short"}, "16 to 1,024 visible ASCII characters"),
        (["--token", READS], {"LIVELAKE_SESSION_SECRET": "short"}, "fewer than 32 characters"),
        (["--tokens", "nothing"], {}, "nothing: the tokens cannot be read"),
    ],
)  # fmt: skip
async def test_what_is_not_safe_is_one_line(
    run: Any, folder: Path, lake: LiveLake, options: list[str], variables: dict[str, str], why: str
) -> None:
    arguments = ["serve", folder.name, "--port", "0", *options]
    line = failed(await asyncio.to_thread(run, *arguments, env=os.environ | variables))
    assert why in line
    assert "short" not in line
    assert READS not in line


async def test_other_machines_are_let_in_with_a_token_or_by_insistence(serve: Any) -> None:
    for options, variables, status in (
        ((), {"LIVELAKE_TOKEN": READS}, 401),
        (("--insecure",), {}, 200),
        (("--insecure", "--allowed-host", "data.example.org"), {}, 200),
    ):
        url, process = await asyncio.to_thread(serve, "--host", "0.0.0.0", *options, **variables)
        assert get(f"{url}queries/seen") == status
        assert get(f"{url}queries/seen", Host="10.1.2.3") == status
        named = status if "--allowed-host" in options else 421
        assert get(f"{url}queries/seen", Host="data.example.org") == named
        process.terminate()
        await asyncio.to_thread(process.wait, PATIENCE)


def test_the_names_that_a_server_answers_to() -> None:
    here = allowed_hosts("127.0.0.1", False, names=["Data.example.org"])
    assert all(name in here for name in ("localhost", "127.0.0.1", "[::1]", "data.example.org"))
    assert not any(name in here for name in ("10.0.0.1", "evil.example"))
    assert "[fe80::1]" in allowed_hosts("::", True)
    with pytest.raises(UsageError, match="everything; add --insecure"):
        allowed_hosts("10.0.0.1", False)
    assert "10.0.0.1" in allowed_hosts("10.0.0.1", False, guarded=True)
