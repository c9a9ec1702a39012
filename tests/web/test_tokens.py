"""Bearer tokens: kept as digests, from the command line or a file, and judged. `test_events` asks over HTTP."""

from __future__ import annotations

from pathlib import Path

import pytest

from livelake.errors import ConfigError, UsageError
from livelake.web.tokens import Tokens

SECRET, READS = "open-sesame", "just-looking"


def test_tokens_are_kept_as_digests_only() -> None:
    tokens = Tokens.of([SECRET], [READS])
    assert SECRET not in repr(tokens)
    assert not any(SECRET.encode() in digest for digest, _ in tokens._known)
    for bad in ("", "two words", "ümlaut", "x" * 1_025, "line\nend"):
        with pytest.raises(UsageError, match="visible ASCII") as error:
            Tokens.of([bad])
        assert not bad or bad not in str(error.value)


def test_tokens_come_from_a_file(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    file = tmp_path / "tokens"
    file.write_text(f"# who\n\npublish {SECRET}\nread  {READS}\npublish another\n")
    file.chmod(0o600)
    tokens = Tokens.from_file(file)
    said = {shown: tokens.judge([f"Bearer {shown}"]) for shown in (SECRET, READS, "another", "publish")}
    assert said == {SECRET: "allowed", READS: "read only", "another": "allowed", "publish": "unknown"}
    assert caplog.text == ""
    file.chmod(0o644)
    Tokens.from_file(file)
    assert "chmod 600" in caplog.text
    assert SECRET not in caplog.text


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("publish\n", ":1: a token is 1 to"),
        (f"read a\nadmin {SECRET}\n", ":2: a line is `publish TOKEN`"),
        (f"{SECRET}\n", ":1: a line is"),
        (f"publish {SECRET} x\n", ":1: a token is"),
        ("# nobody\n", "no token here"),
    ],
)
def test_a_file_of_tokens_that_is_none_names_its_line(tmp_path: Path, text: str, why: str) -> None:
    (tmp_path / "tokens").write_text(text)
    with pytest.raises(ConfigError, match=why) as error:
        Tokens.from_file(tmp_path / "tokens")
    assert SECRET not in str(error.value)
    with pytest.raises(ConfigError, match="cannot be read"):
        Tokens.from_file(tmp_path / "nothing")
