"""Tokens: kept as digests, given or from a file that is read again when it changes. `test_events` asks over HTTP."""

from __future__ import annotations

import os
import pickle
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from livelake.errors import ConfigError, UsageError
from livelake.web.tokens import Tokens

SECRET, READS, OTHER = "open-sesame-open-sesame", "just-looking-around", "another-of-sixteen-or-more"
NOW = datetime(2026, 1, 1, tzinfo=UTC)


def written(path: Path, text: str) -> Path:
    """A file of tokens, in the way that editors and deployments replace one."""
    beside = path.with_name("beside")
    beside.write_text(text)
    beside.chmod(0o600)
    os.replace(beside, path)
    return path


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "tokens"


def test_tokens_are_kept_as_digests_only() -> None:
    tokens = Tokens.of([SECRET], [READS])
    assert SECRET.encode() not in pickle.dumps(tokens)
    identity = tokens.whose(READS, NOW)
    assert identity is not None
    for told in (repr(tokens), repr(identity)):
        assert SECRET not in told
        assert READS not in told
        assert identity.token.hex() not in told


@pytest.mark.parametrize(
    "bad", ["", "two words and some more", "ümlaut-ümlaut-ümlaut", "x" * 15, "x" * 1_025, "line\nend" * 3]
)
def test_a_token_that_is_short_or_no_header_can_carry_is_refused_and_not_repeated(bad: str) -> None:
    with pytest.raises(UsageError, match="16 to 1,024 visible ASCII") as error:
        Tokens.of([bad])
    assert not bad or bad not in str(error.value)


def test_tokens_come_from_a_file(file: Path, caplog: pytest.LogCaptureFixture) -> None:
    tokens = Tokens.from_file(written(file, f"# who\n\npublish {SECRET}\nread  {READS}\n\tread,publish {OTHER}\r\n"))
    said = {shown: tokens.judge([f"Bearer {shown}"], NOW) for shown in (SECRET, READS, OTHER, "publish")}
    assert said == {SECRET: "allowed", READS: "read only", OTHER: "allowed", "publish": "unknown"}
    reads = {shown: (found := tokens.whose(shown, NOW)) and found.may("read") for shown in (SECRET, READS, OTHER)}
    assert reads == {SECRET: False, READS: True, OTHER: True}
    assert caplog.text == ""
    file.chmod(0o644)
    Tokens.from_file(file)
    assert "chmod 600" in caplog.text
    assert SECRET not in caplog.text


def test_a_line_says_who_shows_the_token_and_until_when(file: Path) -> None:
    line = f'read {READS} user=ada tenant="Acme Corp" until=2026-01-02T00:00:00+01:00'
    tokens = Tokens.from_file(written(file, line))
    found = tokens.whose(READS, NOW)
    assert found is not None
    assert found.claims == {"user": "ada", "tenant": "Acme Corp"}
    end = datetime(2026, 1, 1, 23, tzinfo=UTC)
    assert found.until == end
    assert tokens.whose(READS, end - timedelta(seconds=1)) is not None
    assert tokens.whose(READS, end) is None
    assert not tokens.vouch(found, end)


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("publish\n", ":1: a token is 16 to"),
        (f"read {READS}\nadmin {SECRET}\n", ":2: a line is `read TOKEN`"),
        (f"read, {SECRET}\n", ":1: a line is"),
        (f"{SECRET}\n", ":1: a line is"),
        (f"publish {SECRET} x\n", ":1: after the token stand claims"),
        (f"publish {SECRET} User=x\n", ":1: after the token stand claims"),
        (f'publish {SECRET} user="x\n', ":1: after the token stand claims"),
        (f"publish {SECRET} user=x user=y\n", ":1: after the token stand claims, each once"),
        (f"publish {SECRET} until=tomorrow\n", ":1: until=tomorrow is no moment"),
        (f"publish {SECRET} until=2026-01-01\n", ":1: until=2026-01-01 is no moment with its zone"),
        (f"read {SECRET}\nread {READS}\npublish {SECRET}\n", ":3: line 1 has this token already"),
        ("# nobody\n", "no token here"),
    ],
)
def test_a_file_of_tokens_that_is_none_names_its_line(file: Path, text: str, why: str) -> None:
    with pytest.raises(ConfigError, match=why) as error:
        Tokens.from_file(written(file, text))
    assert SECRET not in str(error.value)


def test_a_file_that_is_not_there_is_told(file: Path) -> None:
    with pytest.raises(ConfigError, match="cannot be read"):
        Tokens.from_file(file)
    file.write_bytes(b"read \xff")
    with pytest.raises(ConfigError, match="not UTF-8"):
        Tokens.from_file(file)


# ---------------------------------------------------------------- while it serves


def test_a_file_is_read_again_when_it_has_changed_and_only_then(file: Path) -> None:
    tokens = Tokens.from_file(written(file, f"read {READS}"))
    assert tokens.renewed() is tokens
    written(file, f"read {OTHER}")
    renewed = tokens.renewed()
    assert (renewed.whose(READS, NOW), renewed.whose(OTHER, NOW) is not None) == (None, True)
    assert renewed.renewed() is renewed


def test_what_is_vouched_for_ends_with_its_token_its_roles_or_its_claims(file: Path) -> None:
    tokens = Tokens.from_file(written(file, f"read {READS} tenant=a"))
    identity = tokens.whose(READS, NOW)
    assert identity is not None
    assert tokens.vouch(identity, NOW)
    for now_says in (f"read {OTHER}", f"publish {READS} tenant=a", f"read {READS} tenant=b", f"read {READS}"):
        assert not Tokens.from_file(written(file, now_says)).vouch(identity, NOW), now_says
    assert Tokens.from_file(written(file, f"read,publish {READS} tenant=a")).vouch(identity, NOW)


def test_a_file_that_is_gone_or_garbled_never_opens_what_was_closed(
    file: Path, caplog: pytest.LogCaptureFixture
) -> None:
    tokens = Tokens.from_file(written(file, f"read {READS}"))
    written(file, f"nonsense\nread {OTHER}\nread x")
    garbled = tokens.renewed()
    assert (garbled.whose(READS, NOW), garbled.whose(OTHER, NOW) is not None) == (None, True)
    assert ":1: a line is" in caplog.text
    assert ":3: a token is" in caplog.text
    file.unlink()
    gone = garbled.renewed()
    assert (gone.whose(OTHER, NOW), gone.guards_reading) == (None, True)
    caplog.clear()
    assert not gone.renewed()
    assert caplog.text == ""  # told once
    written(file, "# all are revoked")
    assert (bool(gone.renewed()), gone.renewed().guards_reading) == (False, True)
    written(file, f"read {READS}")
    assert gone.renewed().whose(READS, NOW) is not None


def test_tokens_of_the_command_line_stay_whatever_a_file_says(file: Path) -> None:
    tokens = Tokens.of(publish=[SECRET]) | Tokens.from_file(written(file, f"read {READS}"))
    assert (tokens.guards_reading, tokens.may_publish) == (True, True)
    file.unlink()
    assert tokens.renewed().judge([f"Bearer {SECRET}"], NOW) == "allowed"


def test_a_token_that_is_given_twice_has_both_roles_and_the_earlier_end(file: Path) -> None:
    found = Tokens.of([SECRET], [SECRET]).whose(SECRET, NOW)
    assert found is not None
    assert found.roles == {"read", "publish"}
    limited = Tokens.from_file(written(file, f"publish {SECRET} user=ada until=2026-02-01T00:00Z"))
    both = Tokens.of(read=[SECRET]) | limited
    found = both.whose(SECRET, NOW)
    assert found is not None
    assert (found.roles, found.claims, found.until is not None) == ({"read", "publish"}, {"user": "ada"}, True)


def test_reading_is_open_until_somebody_has_a_token_for_it(file: Path) -> None:
    assert not Tokens().guards_reading
    tokens = Tokens.from_file(written(file, f"publish {SECRET}"))
    assert not tokens.guards_reading
    written(file, f"publish {SECRET}\nread {READS}")
    assert tokens.renewed().guards_reading
