"""`run_router` and `router_config`: a router of this process starts, says where, ends, and refuses what cannot be."""

from __future__ import annotations

import asyncio
import contextlib
import json
import socket
import time
from collections.abc import AsyncIterator, Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
import zenoh

from events.certificates import Authority
from livelake.errors import SourceError, UsageError
from livelake.events import router as module
from livelake.events.router import config_json, run_router
from livelake.events.router_config import RouterTLS, router_config, router_warnings
from livelake.events.zenoh_config import Credentials, load_config, session_config

PATIENCE = 30.0
EXAMPLES = Path(__file__).parents[2] / "examples" / "zenoh"


@contextlib.asynccontextmanager
async def running(config: dict[str, Any]) -> AsyncIterator[tuple[str, ...]]:
    ready: asyncio.Future[tuple[str, ...]] = asyncio.get_running_loop().create_future()

    def listening(places: Sequence[str]) -> None:
        ready.set_result(tuple(places))

    task = asyncio.create_task(run_router(config, on_ready=listening))
    await asyncio.wait((task, ready), timeout=PATIENCE, return_when=asyncio.FIRST_COMPLETED)
    if not ready.done():
        await task
    try:
        yield ready.result()
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task


def open_session(*endpoints: str, listen: Sequence[str] = ()) -> zenoh.Session:
    return zenoh.open(zenoh.Config.from_json5(json.dumps(session_config(endpoints, listen, timeout=PATIENCE))))


async def hears(source: zenoh.Session, target: zenoh.Session) -> bool:
    heard: list[zenoh.Sample] = []
    subscriber = target.declare_subscriber("events/**", zenoh.handlers.Callback(heard.append, indirect=False))
    deadline = time.monotonic() + PATIENCE
    while not heard and time.monotonic() < deadline:
        source.put("events/Todo/1/1", b"", congestion_control=zenoh.CongestionControl.BLOCK)
        await asyncio.sleep(0.01)
    subscriber.undeclare()
    return bool(heard)


# ---------------------------------------------------------------- running


async def test_a_router_says_where_it_listens_joins_clients_and_gives_its_port_back(tmp_path: Path) -> None:
    config = router_config(["tcp/127.0.0.1:0", "tcp/[::1]:0", f"unixsock-stream/{tmp_path}/bus.sock"])
    async with running(config) as (v4, v6, unix):
        assert not any(each.endswith(":0") for each in (v4, v6))
        with open_session(v4) as first, open_session(unix) as second:
            assert await hears(first, second)
    async with running(router_config([v4])) as again:
        assert again == (v4,)


async def test_a_taken_port_is_told_in_one_line() -> None:
    with socket.socket() as holder:
        holder.bind(("127.0.0.1", 0))
        holder.listen()
        place = f"tcp/127.0.0.1:{holder.getsockname()[1]}"
        with pytest.raises(SourceError, match=rf"{place}: Address already in use; another process") as refused:
            async with running(router_config([place])):
                pass
    assert "\n" not in str(refused.value)
    assert ".rs" not in str(refused.value)


async def test_a_live_unix_socket_is_not_taken_over(tmp_path: Path) -> None:
    place = f"unixsock-stream/{tmp_path}/bus.sock"
    async with running(router_config([place])):
        with pytest.raises(SourceError, match="another process listens there"):
            async with running(router_config([place])):
                pass


async def test_a_free_port_that_somebody_took_first_is_looked_for_again(monkeypatch: pytest.MonkeyPatch) -> None:
    look, looks = module._free_port, 0
    with socket.socket() as holder:
        holder.bind(("127.0.0.1", 0))
        holder.listen()

        def unlucky(endpoint: Any) -> int:
            nonlocal looks
            looks += 1
            return int(holder.getsockname()[1]) if looks == 1 else look(endpoint)

        monkeypatch.setattr(module, "_free_port", unlucky)
        async with running(router_config(["tcp/127.0.0.1:0"])) as (place,):
            assert not place.endswith(f":{holder.getsockname()[1]}")
    assert looks == 2


@pytest.mark.parametrize(
    ("config", "why"),
    [
        ({"mode": "peer"}, "mode 'peer'"),
        ({"mode": "router"}, "no place to listen"),
        ({"listen": {"endpoints": ["tcp/x"]}}, "HOST:PORT"),
        ({"listen": {"endpoints": ["tcp/127.0.0.1:0"]}, "mod": 1}, "unknown field `mod`"),
    ],
)
async def test_a_configuration_that_is_none_of_a_router_is_refused(config: dict[str, Any], why: str) -> None:
    with pytest.raises(UsageError, match=why):
        async with running(config):
            pass


async def test_a_router_cancelled_while_it_opens_leaves_nothing_open(monkeypatch: pytest.MonkeyPatch) -> None:
    opened: list[zenoh.Session] = []
    real, loop, begun = module._open_session, asyncio.get_running_loop(), asyncio.Event()

    def slow(config: dict[str, Any]) -> zenoh.Session:
        loop.call_soon_threadsafe(begun.set)
        opened.append(real(config))
        return opened[-1]

    monkeypatch.setattr(module, "_open_session", slow)
    task = asyncio.create_task(run_router(router_config(["tcp/127.0.0.1:0"]), on_ready=lambda _: None))
    await asyncio.wait_for(begun.wait(), PATIENCE)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert [session.is_closed() for session in opened] == [True]


async def test_a_router_starts_before_the_one_that_it_is_to_join() -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        inner = f"tcp/127.0.0.1:{probe.getsockname()[1]}"
    leaf = router_config(["tcp/127.0.0.1:0"], connect=[inner])
    async with running(leaf) as (outer,), running(router_config([inner])):
        with open_session(inner) as first, open_session(outer) as second:
            assert await hears(first, second)


async def test_peers_that_listen_hear_each_other_through_a_router() -> None:
    async with running(router_config(["tcp/127.0.0.1:0"])) as (place,):
        here = ["tcp/127.0.0.1:0"]
        with open_session(place, listen=here) as first, open_session(place, listen=here) as second:
            assert await hears(first, second)


# ---------------------------------------------------------------- configurations


@pytest.fixture
def users(tmp_path: Path) -> Path:
    file = tmp_path / "users"
    file.write_text("writer:w\n\nreader:r:with:colons\n")
    file.chmod(0o600)
    return file


@pytest.fixture
def tls(tmp_path: Path) -> RouterTLS:
    authority = Authority(tmp_path / "ca")
    own = authority.identity("router")
    return RouterTLS(certificate=own.certificate, private_key=own.private_key, ca=authority.ca, mutual=True)


def test_every_configuration_is_one_that_zenoh_takes(users: Path, tls: RouterTLS) -> None:
    login = Credentials(user="a", password="b")
    for config in (
        router_config(["tcp/127.0.0.1:7447"], adminspace=True),
        router_config(["tls/127.0.0.1:7447"], tls=tls, publishers=["writer"], connect=["tls/other:1"]),
        router_config(["tcp/127.0.0.1:7447"], users=users, publishers=["writer"], connect=["tcp/b:1"], login=login),
    ):
        known = json.loads(str(zenoh.Config.from_json5(config_json(config))))
        assert known["mode"] == "router"
        assert known["transport"]["link"]["tx"]["lease"] == 1000
        # Past the router there is no access control, and gossip is what leads past it.
        assert known["scouting"]["gossip"]["enabled"] is ("access_control" not in config)


Call = Callable[[Path, RouterTLS], object]
LOOP = ["tcp/127.0.0.1:0"]


@pytest.mark.parametrize(
    ("call", "why"),
    [
        (lambda users, tls: router_config([]), "listen is empty"),
        (lambda users, tls: router_config(["tls/127.0.0.1:0"]), "needs a certificate"),
        (lambda users, tls: router_config(["tls/127.0.0.1:0"], tls=RouterTLS(ca=tls.ca)), "needs a certificate"),
        (lambda users, tls: router_config(LOOP, tls=tls), "listen on tls/… only"),
        (lambda users, tls: router_config(LOOP, tls=RouterTLS(ca=tls.ca)), "uses no certificates"),
        (lambda users, tls: router_config(LOOP, publishers=["writer"]), "cannot be told from others"),
        (lambda users, tls: router_config(LOOP, users=users, publishers=["nobody"]), "there are reader, writer"),
        (lambda users, tls: router_config(["tls/127.0.0.1:0"], tls=tls, publishers=[""]), "one is empty"),
        (lambda users, tls: router_config(LOOP, users="/nowhere/users"), "users /nowhere/users cannot be read"),
        (
            lambda users, tls: router_config(LOOP, users=users, publishers=["writer"], adminspace=True),
            "admin space",
        ),
        (
            lambda users, tls: router_config(LOOP, connect=["tcp/a:1"], login=Credentials(user="a", password="b")),
            "refuses everybody",
        ),
        (
            lambda users, tls: router_config(LOOP, users=users, login=Credentials(user="a", password="b")),
            "a login is for other routers",
        ),
        (lambda users, tls: RouterTLS(certificate=tls.certificate), "one is missing"),
        (lambda users, tls: RouterTLS(mutual=True), "needs a ca"),
        (lambda users, tls: RouterTLS(ca=tls.ca, mutual=True), "own certificate"),
    ],
)
def test_what_does_not_go_together_is_refused(call: Call, why: str, users: Path, tls: RouterTLS) -> None:
    with pytest.raises(UsageError, match=why):
        call(users, tls)


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", "are none"),
        ("\n\n", "are none"),
        ("writer\n", ":1: this is no line user:password"),
        ("a:b\nwriter:\n", ":2: this is no line user:password"),
        ("a:b \n", ":1: this is no line user:password"),
        (":b\n", ":1: '' is no user name"),
        ("a:b\n a:c\n", ":2: ' a' is no user name"),
        ("a:b\nc:d\na:e\n", ":3: user 'a' has two passwords"),
    ],
)
def test_a_file_of_users_is_checked_by_line_and_shows_no_password(text: str, why: str, users: Path) -> None:
    users.write_text(text)
    with pytest.raises(UsageError, match=why):
        router_config(LOOP, users=users)


def test_open_doors_are_told(users: Path, tls: RouterTLS) -> None:
    assert router_warnings(LOOP) == ()
    assert router_warnings(LOOP, users=users) == ()
    assert router_warnings(["tls/0.0.0.0:1"], tls=tls) == ()
    (open_door,) = router_warnings(["tcp/0.0.0.0:1"])
    assert "everybody who reaches tcp/0.0.0.0:1" in open_door
    users.chmod(0o644)
    clear, readable = router_warnings(["tcp/0.0.0.0:1"], users=users)
    assert "not encrypted" in clear
    assert "chmod 600" in readable


# ---------------------------------------------------------------- examples


@pytest.mark.parametrize(
    ("name", "listen", "fields"),
    [
        ("router", "tcp/127.0.0.1:7447", {}),
        ("router-users", "tls/0.0.0.0:7447", {"mutual": False, "users": True}),
        ("router-publishers", "tls/0.0.0.0:7447", {"mutual": True, "publishers": ["writer"]}),
    ],
)
def test_an_example_is_what_the_command_in_it_makes(
    name: str,
    listen: str,
    fields: dict[str, Any],
    tmp_path: Path,
    tls: RouterTLS,
    users: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    made = router_config(
        [listen],
        tls=None
        if not fields
        else tls
        if fields["mutual"]
        else RouterTLS(certificate=tls.certificate, private_key=tls.private_key),
        users=users if fields.get("users") else None,
        publishers=fields.get("publishers", ()),
    )
    text = config_json(made).replace(f"{tmp_path}/ca/", "").replace(f"{tmp_path}/", "")
    assert load_config(EXAMPLES / f"{name}.json5") == json.loads(str(zenoh.Config.from_json5(text)))
