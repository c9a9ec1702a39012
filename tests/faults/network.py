"""A network made of namespaces, for as long as a test: nodes behind a forwarder that can stop forwarding.

    hub ── mid of p0 ── p0        who is not behind one is in the hub, with the router
        └─ mid of reader ── reader

A cut drops packets without a word: no reset, no lost carrier. It needs root, and asks nobody outside.
"""

from __future__ import annotations

import contextlib
import os
import subprocess
from collections.abc import Iterator, Sequence

import pytest


def _ip(*words: str) -> None:
    subprocess.run(["ip", *words], check=True, capture_output=True, timeout=30)


class Network:
    """See the module. ``behind``: the nodes that can be cut off."""

    hub = "10.203.0.1"  # the router's address, everywhere

    def __init__(self, behind: Sequence[str]) -> None:
        self._prefix = f"ll{os.getpid()}"
        self._behind = {name: number for number, name in enumerate(behind, 1)}
        self._made: list[str] = []

    def build(self) -> None:
        self._add("hub")
        self._do("hub", "addr", "add", f"{self.hub}/32", "dev", "lo")
        for name, number in self._behind.items():
            mid, net = f"mid{number}", f"10.203.{number}"
            self._add(mid)
            self._add(name)
            self._join("hub", f"h{number}", mid, "north", f"{net}.1", f"{net}.2")
            self._join(mid, "south", name, "north", f"{net}.5", f"{net}.6")
            self._do(name, "route", "add", "default", "via", f"{net}.5")
            self._do(mid, "route", "add", "default", "via", f"{net}.1")
            self._do("hub", "route", "add", f"{net}.4/30", "via", f"{net}.2")
            self._forward(mid, "1")

    def end(self) -> None:
        for name in reversed(self._made):
            with contextlib.suppress(subprocess.CalledProcessError):
                _ip("netns", "del", name)
        self._made.clear()

    def within(self, name: str) -> Sequence[str]:
        """The words before a command that is to run at that node."""
        return ("ip", "netns", "exec", self._name(name if name in self._behind else "hub"))

    def cut(self, name: str, *, one_way: bool = False) -> None:
        number = self._behind[name]
        if one_way:
            self._do(f"mid{number}", "route", "replace", "blackhole", f"10.203.{number}.6/32")
        else:
            self._forward(f"mid{number}", "0")

    def heal(self, name: str) -> None:
        number = self._behind[name]
        with contextlib.suppress(subprocess.CalledProcessError):
            self._do(f"mid{number}", "route", "del", "blackhole", f"10.203.{number}.6/32")
        self._forward(f"mid{number}", "1")

    def _name(self, name: str) -> str:
        return f"{self._prefix}{name}"

    def _add(self, name: str) -> None:
        _ip("netns", "add", self._name(name))
        self._made.append(self._name(name))
        self._do(name, "link", "set", "dev", "lo", "up")

    def _do(self, name: str, *words: str) -> None:
        _ip("-n", self._name(name), *words)

    def _join(self, one: str, port: str, other: str, far_port: str, near: str, far: str) -> None:
        self._do(one, "link", "add", port, "type", "veth", "peer", "name", far_port, "netns", self._name(other))
        for name, each, address in ((one, port, near), (other, far_port, far)):
            self._do(name, "addr", "add", f"{address}/30", "dev", each)
            self._do(name, "link", "set", "dev", each, "up")

    def _forward(self, name: str, value: str) -> None:
        write = f"echo {value} > /proc/sys/net/ipv4/ip_forward"
        command = ["ip", "netns", "exec", self._name(name), "sh", "-c", write]
        subprocess.run(command, check=True, capture_output=True, timeout=30)


def why_not() -> str:
    """Why no network can be made here; empty if it can."""
    made = Network([])
    try:
        made.build()
    except OSError as error:
        return str(error)
    except subprocess.CalledProcessError as error:
        return str(error.stderr.decode(errors="replace").strip())
    finally:
        made.end()
    return ""


@contextlib.contextmanager
def network(*behind: str) -> Iterator[Network]:
    """A network, or a skipped test where none can be made."""
    if why := why_not():
        pytest.skip(f"no network namespaces here: {why}")
    made = Network(behind)
    try:
        made.build()
        yield made
    finally:
        made.end()
