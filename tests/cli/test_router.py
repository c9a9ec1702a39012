"""``livelake router`` as a user meets it: ready, ended, refused, and printed for zenohd."""

from __future__ import annotations

import json
import re
import shlex
import signal
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import zenoh
from click.testing import CliRunner

from livelake.cli import cli
from livelake.events.zenoh_config import session_config

PATIENCE = 45.0


def ready(process: subprocess.Popen[str]) -> str:
    """The endpoint of the startup line."""
    assert process.stdout is not None
    line = process.stdout.readline()
    assert line.startswith("livelake router listens on "), line + str(process.communicate())
    assert line.endswith(" (Ctrl-C ends it)\n")
    return line.split()[4]


def failed(done: subprocess.CompletedProcess[str]) -> str:
    """The one line of a failure."""
    assert done.returncode == 1, done
    assert done.stdout == ""
    (line,) = done.stderr.splitlines()
    assert line.startswith("livelake: ")
    assert "Traceback" not in line
    return line


def write(path: Path, text: str) -> Path:
    path.write_text(text)
    path.chmod(0o600)
    return path


@pytest.mark.parametrize("stop", [signal.SIGTERM, signal.SIGINT])
@pytest.mark.parametrize("joined", [False, True], ids=["alone", "with a client"])
def test_a_signal_ends_the_router_with_status_0_and_frees_its_port(
    start: Any, stop: signal.Signals, joined: bool
) -> None:
    process = start("router", "--listen", "tcp/127.0.0.1:0")
    place = ready(process)
    if joined:
        config = session_config([place], timeout=PATIENCE)
        with zenoh.open(zenoh.Config.from_json5(json.dumps(config))) as client:
            assert client.info.routers_zid()
            process.send_signal(stop)
            output, errors = process.communicate(timeout=PATIENCE)
    else:
        process.send_signal(stop)
        output, errors = process.communicate(timeout=PATIENCE)
    assert (process.returncode, output, errors) == (0, "", "")
    assert ready(start("router", "--listen", place)) == place


CLIENT = """
import sys, zenoh
session = zenoh.open(zenoh.Config.from_json5(sys.argv[1]))
session.declare_subscriber("events/**", zenoh.handlers.Callback(lambda _: None, indirect=False))
print("there", flush=True)
sys.stdin.read()
"""


def test_a_frozen_client_with_a_full_link_does_not_keep_the_router(start: Any) -> None:
    process = start("router", "--listen", "tcp/127.0.0.1:0")
    config = json.dumps(session_config([ready(process)], timeout=PATIENCE))
    with subprocess.Popen(
        [sys.executable, "-c", CLIENT, config], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as client:
        try:
            assert client.stdout is not None
            assert client.stdout.readline() == "there\n"
            client.send_signal(signal.SIGSTOP)
            with zenoh.open(zenoh.Config.from_json5(config)) as writer:
                for _ in range(64):  # more than the sockets hold: Zenoh's close then waits 10 s, and fails
                    writer.put("events/Todo/1/1", b"x" * 1_000_000)
                process.send_signal(signal.SIGTERM)
            _, errors = process.communicate(timeout=PATIENCE)
        finally:
            client.kill()
    assert process.returncode == 0, errors
    assert "Traceback" not in errors


def test_several_places_are_told_in_one_line(start: Any, tmp_path: Path) -> None:
    unix = f"unixsock-stream/{tmp_path}/bus.sock"
    process = start("router", "--listen", "tcp/127.0.0.1:0", "--listen", unix)
    line = process.stdout.readline()
    assert f", {unix} (Ctrl-C" in line


def test_a_taken_port_is_one_line(run: Any) -> None:
    with socket.socket() as holder:
        holder.bind(("127.0.0.1", 0))
        holder.listen()
        place = f"tcp/127.0.0.1:{holder.getsockname()[1]}"
        line = failed(run("router", "--listen", place))
    assert f"{place}: Address already in use; another process listens there" in line


@pytest.mark.parametrize(
    ("options", "why"),
    [
        (["--listen", "localhost"], "'localhost' is no endpoint"),
        (
            ["--listen", "tcp/127.0.0.1:0", "--connect", "tcp/x:0"],
            "'tcp/x:0' is no endpoint: nobody listens on port 0",
        ),
        (["--listen", "tcp/0.0.0.0:7447"], "--listen tcp/0.0.0.0:7447 would let other machines read and publish"),
        (["--listen", "tcp/[::]:7447"], "would let other machines"),
        (["--listen", "tcp/10.0.0.5:7447"], "would let other machines"),
        (["--listen", "tls/0.0.0.0:7447"], "needs a certificate"),
        (["--mutual-tls"], "mutual TLS needs a ca"),
        (["--tls-key", "none.key"], "one is missing"),
        (["--users", "none"], "none cannot be read: No such file"),
        (["--publisher", "writer"], "cannot be told from others"),
        (["--user", "writer"], "$LIVELAKE_PASSWORD is not set"),
        (["--lease", "0"], "lease 0.0 is not between"),
        (["--config", "none.json5"], "none.json5 cannot be read"),
        (["--config", "none.json5", "--publisher", "a"], "says everything by itself"),
    ],
)
def test_what_cannot_be_is_one_line(run: Any, options: list[str], why: str) -> None:
    assert why in failed(run("router", *options))


def test_the_configuration_is_printed_as_zenohd_takes_it(run: Any, tmp_path: Path) -> None:
    users = write(tmp_path / "users", "writer:w\nreader:r\n")
    done = run(
        *(
            "router",
            "--listen",
            "tcp/127.0.0.1:7447",
            "--listen",
            "tcp/127.0.0.1:7448",
            "--connect",
            "tcp/other:7447",
        ),
        *("--users", "users", "--publisher", "writer", "--lease", "0.5", "--print-config"),
    )
    assert (done.returncode, done.stderr) == (0, "")
    config = json.loads(str(zenoh.Config.from_json5(done.stdout)))
    assert config["mode"] == "router"
    assert config["listen"]["endpoints"] == ["tcp/127.0.0.1:7447", "tcp/127.0.0.1:7448"]
    assert config["transport"]["link"]["tx"]["lease"] == 500
    assert config["transport"]["auth"]["usrpwd"]["dictionary_file"] == str(users)  # also from another folder
    assert config["access_control"]["subjects"][0]["usernames"] == ["writer"]


def test_without_options_it_is_for_this_machine(run: Any) -> None:
    done = run("router", "--print-config")
    assert json.loads(done.stdout)["listen"]["endpoints"] == ["tcp/127.0.0.1:7447"]


def test_insecure_is_allowed_when_it_is_meant_and_told(run: Any) -> None:
    done = run("router", "--listen", "tcp/0.0.0.0:7447", "--insecure", "--print-config")
    assert done.returncode == 0
    assert "everybody who reaches tcp/0.0.0.0:7447 can read and publish" in done.stderr


def test_what_was_printed_runs(run: Any, start: Any, tmp_path: Path) -> None:
    printed = run("router", "--listen", "tcp/127.0.0.1:0", "--print-config").stdout
    write(tmp_path / "own.json5", "// mine\n" + printed)
    place = ready(start("router", "--config", "own.json5"))
    with zenoh.open(zenoh.Config.from_json5(json.dumps(session_config([place], timeout=PATIENCE)))) as client:
        assert client.info.routers_zid()


def test_a_configuration_of_a_client_is_no_router(run: Any, tmp_path: Path) -> None:
    write(tmp_path / "own.json5", "{ mode: 'client' }")
    assert "mode 'client'" in failed(run("router", "--config", "own.json5"))


def test_an_open_door_of_ones_own_configuration_is_told(run: Any, tmp_path: Path) -> None:
    write(tmp_path / "own.json5", "{ mode: 'router' }")  # Zenoh then listens on every address
    done = run("router", "--config", "own.json5", "--print-config")
    assert "everybody who reaches tcp/[::]:7447 can read and publish" in done.stderr


DOCUMENT = (Path(__file__).parents[2] / "docs" / "bus.md").read_text(encoding="utf-8")
COMMANDS = sorted(set(re.findall(r"^(?:ExecStart=/opt/app/bin/)?livelake (router .*?)(?: > .*)?$", DOCUMENT, re.M)))


def test_the_guide_has_commands() -> None:
    assert len(COMMANDS) >= 4


@pytest.mark.parametrize("command", COMMANDS)
def test_each_command_of_the_guide_makes_a_configuration(
    command: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(tmp_path / "users", "writer:w\nreader:r\n")
    for name in ("router.pem", "router.key", "ca.pem"):
        write(tmp_path / name, "-")
    monkeypatch.chdir(tmp_path)
    done = CliRunner().invoke(cli, [*shlex.split(command), "--print-config"], catch_exceptions=False)
    assert json.loads(str(zenoh.Config.from_json5(done.stdout)))["mode"] == "router"
