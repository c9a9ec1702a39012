"""Endpoints, credentials and session configurations: what is refused says why, what is made is one Zenoh takes."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import zenoh

from events.certificates import Authority
from livelake.errors import SourceError, UsageError
from livelake.events.endpoints import parse_endpoint
from livelake.events.zenoh_config import Credentials, load_config, session_config, session_warnings


def taken_by_zenoh(config: dict[str, object]) -> dict[str, Any]:
    """``config`` as Zenoh understood it."""
    return dict(json.loads(str(zenoh.Config.from_json5(json.dumps(config)))))


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("tcp/x", "HOST:PORT"),
        ("tcp/:7447", "HOST:PORT"),
        ("7447", "does not begin with"),
        ("localhost:7447", "does not begin with"),
        ("", "does not begin with"),
        ("http/localhost:80", "does not begin with"),
        ("TCP/localhost:80", "does not begin with"),
        ("tcp/localhost:", "is no port"),
        ("tcp/localhost:99999", "is no port"),
        ("tcp/localhost:-1", "is no port"),
        ("tcp/localhost:٧", "is no port"),
        ("tcp/localhost:07447", "written 7447"),
        ("tcp/::1:7447", "in brackets"),
        ("tcp/[::1:7447", "in brackets"),
        ("tcp/[nowhere]:7447", "no IPv6 address"),
        ("tcp/a b:7447", "no host name"),
        ("tcp/a/b:7447", "no host name"),
        ("tcp/localhost:7447\n", "control characters"),
        ("unixsock-stream/", "no socket file"),
        ("unixsock-stream/a\nb", "control characters"),
        ("unixpipe/a", "built without unixpipe"),
        ("vsock/1:2", "built without vsock"),
        ("serial//dev/ttyS0", "built without serial"),
        ("tcp/localhost:0", "nobody listens on port 0"),
        ("tls/0.0.0.0:7447", "every address"),
        ("tls/[::]:7447", "every address"),
        ("tcp/" + "x" * 100_000, "HOST:PORT"),
    ],
)
def test_a_malformed_endpoint_is_refused_in_one_line_that_says_which_and_why(text: str, why: str) -> None:
    with pytest.raises(UsageError, match=why) as refused:
        session_config([text])
    message = str(refused.value)
    assert repr(text)[:50].rstrip("'\"") in message
    assert "\n" not in message
    assert len(message) < 400


@pytest.mark.parametrize(
    "text",
    [
        "tcp/localhost:7447",
        "tcp/10.0.0.5:7447#iface=eth0",
        "udp/bus.example.org:7447?rel=0",
        "tls/[::1]:7447",
        "quic/[fe80::1%eth0]:1",
        "ws/a_b-c.d:65535",
        "unixsock-stream//run/livelake/bus.sock",
        "unixsock-stream/bus.sock",
    ],
)
def test_a_good_endpoint_reaches_zenoh_as_it_was_written(text: str) -> None:
    known = taken_by_zenoh(session_config([text]))
    assert known["connect"]["endpoints"] == [text]
    assert known["mode"] == "client"


@pytest.mark.parametrize(
    ("text", "local", "encrypted"),
    [
        ("tcp/127.0.0.1:1", True, False),
        ("tcp/127.9.9.9:1", True, False),
        ("tcp/localhost:1", True, False),
        ("tls/[::1]:1", True, True),
        ("unixsock-stream/x", True, False),
        ("tcp/0.0.0.0:1", False, False),
        ("ws/[::]:1", False, False),
        ("quic/10.0.0.1:1", False, True),
        ("udp/localhost.example.org:1", False, False),
    ],
)
def test_an_endpoint_knows_who_reaches_it(text: str, local: bool, encrypted: bool) -> None:
    endpoint = parse_endpoint(text, listening=True)
    assert (endpoint.is_local, endpoint.is_encrypted) == (local, encrypted)


def test_another_port_leaves_the_rest_of_an_endpoint() -> None:
    assert parse_endpoint("tcp/[::1]:0#iface=lo", listening=True).with_port(80).text == "tcp/[::1]:80#iface=lo"


# ---------------------------------------------------------------- modes


def test_without_endpoints_a_session_is_alone_with_its_process() -> None:
    known = taken_by_zenoh(session_config())
    assert known["mode"] == "peer"
    assert known["connect"]["endpoints"] == known["listen"]["endpoints"] == []
    assert known["scouting"]["multicast"]["enabled"] is False
    assert known["scouting"]["gossip"]["enabled"] is False
    assert known["scouting"]["delay"] == 0
    assert known["transport"]["shared_memory"]["enabled"] is False


def test_a_client_waits_its_time_and_comes_back_quickly() -> None:
    known = taken_by_zenoh(session_config(["tcp/a:1", "tcp/b:1"], lease=0.4, timeout=1.5))
    assert known["connect"]["timeout_ms"] == 1500
    assert known["connect"]["retry"] == {"period_init_ms": 100, "period_max_ms": 500, "period_increase_factor": 1.5}
    assert known["transport"]["link"]["tx"]["lease"] == 400


def test_peers_that_listen_learn_of_one_another() -> None:
    known = taken_by_zenoh(session_config(["tcp/a:1"], ["tcp/127.0.0.1:0"]))
    assert known["mode"] == "peer"
    assert known["scouting"]["gossip"]["enabled"] is True


Call = Callable[[], object]


@pytest.mark.parametrize(
    ("call", "why"),
    [
        (lambda: session_config(["tcp/a:1"], mode="peer"), "never hear each other"),
        (lambda: session_config(mode="client"), "none is named"),
        (lambda: session_config(["tcp/a:1"], ["tcp/b:1"], "client"), "does not listen"),
        (lambda: session_config(["tcp/a:1"], mode="router"), "mode 'router' is unknown"),  # type: ignore[arg-type]
        (lambda: session_config("tcp/a:1"), r"write connect=\['tcp/a:1'\]"),
        (lambda: session_config(["tcp/a:1", "tcp/a:1"]), "twice"),
        (lambda: session_config(lease=0), "lease 0"),
        (lambda: session_config(lease=float("nan")), "lease nan"),
        (lambda: session_config(["tcp/a:1"], timeout=float("inf")), "timeout inf"),
        (lambda: session_config(["tcp/a:1"], timeout=0), "timeout 0"),
        (lambda: session_config(credentials=Credentials(user="a", password="b")), "there are none"),
        (lambda: session_config(listen=["tls/127.0.0.1:0"]), "needs a certificate"),
        (
            lambda: session_config(listen=["tcp/127.0.0.1:0"], credentials=Credentials(user="a", password="b")),
            "refuse everybody",
        ),
        (lambda: session_config(["tcp/a:1"], credentials=Credentials(ca=__file__)), "uses no certificates"),
    ],
)
def test_what_does_not_go_together_is_refused(call: Call, why: str) -> None:
    with pytest.raises(UsageError, match=why):
        call()


# ---------------------------------------------------------------- credentials


@pytest.mark.parametrize(
    ("fields", "why"),
    [
        ({"user": "a"}, "a user and no password"),
        ({"password": "a"}, "a password and no user"),
        ({"user": "a", "password": ""}, "is empty"),
        ({"user": "a:b", "password": "c"}, "no user name"),
        ({"user": "", "password": "c"}, "no user name"),
        ({"certificate": __file__}, "a certificate and no private_key"),
        ({"private_key": __file__}, "a private_key and no certificate"),
        ({"ca": "/nowhere/ca.pem"}, "ca /nowhere/ca.pem cannot be read: No such file"),
        ({"certificate": __file__, "private_key": "/nowhere"}, "private key /nowhere cannot be read"),
    ],
)
def test_half_or_missing_credentials_are_refused_by_name(fields: dict[str, str], why: str) -> None:
    with pytest.raises(UsageError, match=why):
        Credentials(**fields)  # type: ignore[arg-type]


def test_a_password_is_not_shown() -> None:
    known = Credentials(user="api", password="hush")
    assert "hush" not in repr(known)
    assert "api" in repr(known)


def test_certificates_are_shown_where_there_are_some(tmp_path: Path) -> None:
    authority = Authority(tmp_path)
    own = authority.identity("api")
    mutual = Credentials(ca=authority.ca, certificate=own.certificate, private_key=own.private_key)
    tls = taken_by_zenoh(session_config(["tls/a:1"], credentials=mutual))["transport"]["link"]["tls"]
    assert tls["enable_mtls"] is True
    assert tls["connect_certificate"] == str(own.certificate)
    assert tls["listen_certificate"] is None
    tls = taken_by_zenoh(session_config(listen=["tls/127.0.0.1:0"], credentials=mutual))["transport"]["link"]["tls"]
    assert tls["enable_mtls"] is True
    assert tls["listen_private_key"] == str(own.private_key)


# ---------------------------------------------------------------- warnings


def test_open_doors_and_passwords_in_the_clear_are_told(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    known = Credentials(user="api", password="hush")
    assert session_warnings(["tcp/127.0.0.1:1", "tls/10.0.0.1:1"], credentials=known) == ()
    (warning,) = session_warnings(["tcp/10.0.0.1:1"], credentials=known)
    assert "tcp/10.0.0.1:1 is not encrypted" in warning
    assert "hush" not in warning
    assert session_warnings(listen=["tcp/127.0.0.1:0"]) == ()
    with caplog.at_level(logging.WARNING, "livelake.events"):
        session_config(listen=["tcp/0.0.0.0:7447"])
    assert "listening on tcp/0.0.0.0:7447 lets every machine" in caplog.text
    authority = Authority(tmp_path)
    own = authority.identity("api")
    mutual = Credentials(ca=authority.ca, certificate=own.certificate, private_key=own.private_key)
    assert session_warnings(listen=["tls/0.0.0.0:7447"], credentials=mutual) == ()


# ---------------------------------------------------------------- a user's own file


def test_a_users_own_file_is_json5(tmp_path: Path) -> None:
    file = tmp_path / "own.json5"
    file.write_text("{ mode: 'router', // mine\n listen: { endpoints: ['tcp/127.0.0.1:7447'], }, }")
    config = load_config(file)
    assert config["mode"] == "router"
    assert taken_by_zenoh(config) == config


@pytest.mark.parametrize(
    ("text", "why"), [("{ mod: 1 }", "unknown field `mod`"), ("{ mode:", "expected"), ("", "expec")]
)
def test_a_file_that_is_no_configuration_is_refused_in_one_line(tmp_path: Path, text: str, why: str) -> None:
    file = tmp_path / "own.json5"
    file.write_text(text)
    with pytest.raises(UsageError, match=why) as refused:
        load_config(file)
    assert str(file) in str(refused.value)
    assert "\n" not in str(refused.value)


def test_a_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match=r"none\.json5 cannot be read: No such file"):
        load_config(tmp_path / "none.json5")
    (tmp_path / "latin").write_bytes(b"\xff\xfe")
    with pytest.raises(SourceError, match="not UTF-8"):
        load_config(tmp_path / "latin")
