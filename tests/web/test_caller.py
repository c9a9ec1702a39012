"""What a request says of itself, read from the raw scope."""

from __future__ import annotations

import pytest

from livelake.web.caller import Asked


def asked(path: str, root: str = "", query: bytes = b"", **headers: str) -> Asked:
    raw = [(name.replace("_", "-").encode(), value.encode()) for name, value in headers.items()]
    return Asked.of({"method": "GET", "path": root + path, "root_path": root, "query_string": query, "headers": raw})


@pytest.mark.parametrize("path", ["/login", "/logout", "/healthz", "/static/livelake.css", "/static/..", "/static/"])
def test_the_way_in_and_the_pages_own_files_are_open(path: str) -> None:
    assert asked(path).is_open
    assert asked(path, "/mounted").is_open


CLOSED = [
    "/",
    "",
    "/login/",
    "/logins",
    "/static",
    "/static/a/b",
    "/static/../queries/x",
    "/d/login",
    "/x/healthz",
    "//login",
]


@pytest.mark.parametrize("path", CLOSED)
def test_all_else_is_closed(path: str) -> None:
    assert not asked(path).is_open
    assert not asked(path, "/login").is_open


def test_the_log_in_leads_back_to_below_where_we_are_mounted() -> None:
    assert asked("/d/shop", "/lake", b"a=1&b=%20").login == "/lake/login?next=%2Fd%2Fshop%3Fa%3D1%26b%3D%2520"
    for path, query in (
        ("/", b""),
        ("//evil.example", b""),
        ("/d", b"x=\\"),
        ("/d", b"x=\xff"),
        ("/d/" + "x" * 3_000, b""),
    ):
        assert asked(path, "/lake", query).login == "/lake/login"


def test_a_bearer_is_shown_or_nothing_is() -> None:
    assert asked("/", authorization="Basic x").bearers == ()
    assert asked("/", authorization="bearer x").bearers == ("bearer x",)
    assert asked("/", authorization="Bearerx").bearers == ()
