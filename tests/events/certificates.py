"""Certificate authorities for tests: made afresh, written as PEM files, trusted by nobody else."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import trustme

HOSTS = ("127.0.0.1", "localhost")


@dataclasses.dataclass(frozen=True)
class Identity:
    """A certificate and its key."""

    certificate: Path
    private_key: Path


class Authority:
    """A certificate authority of its own, in ``folder``."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._folder = folder
        self._made = trustme.CA(key_type=trustme.KeyType.ECDSA)
        self.ca = folder / "ca.pem"
        self._made.cert_pem.write_to_path(str(self.ca))

    def identity(self, name: str) -> Identity:
        """A certificate whose common name is ``name``, good for this machine's loopback."""
        made = self._made.issue_cert(*HOSTS, common_name=name, key_type=trustme.KeyType.ECDSA)
        certificate, private_key = self._folder / f"{name}.pem", self._folder / f"{name}.key"
        certificate.write_bytes(b"".join(blob.bytes() for blob in made.cert_chain_pems))
        made.private_key_pem.write_to_path(str(private_key))
        return Identity(certificate, private_key)
