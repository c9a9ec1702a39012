"""Sessions: tickets that only we can make, for as long as their token counts, until they are logged out."""

from __future__ import annotations

import base64
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from livelake.web import sessions
from livelake.web.identity import Identity
from livelake.web.sessions import Sessions, SessionSettings
from livelake.web.tokens import Tokens

TOKEN, OTHER = "just-looking-around", "somebody-elses-token"
NOW = datetime(2026, 1, 1, tzinfo=UTC)
TOKENS = Tokens.of(publish=[TOKEN], read=[TOKEN, OTHER])


def whose(token: str, tokens: Tokens = TOKENS) -> Identity:
    found = tokens.whose(token, NOW)
    assert found is not None
    return found


def test_a_ticket_stands_for_its_token_to_read_with_and_for_nothing_else() -> None:
    made = Sessions()
    value, seconds = made.begin(whose(TOKEN), NOW)
    found = made.read(value, TOKENS, NOW)
    assert found is not None
    assert (found.token, found.roles, seconds) == (whose(TOKEN).token, {"read"}, 12 * 3600)
    assert TOKEN not in value
    raw = base64.urlsafe_b64decode(value + "=")
    assert whose(TOKEN).token not in raw
    assert TOKEN.encode() not in raw


def test_two_log_ins_are_two_sessions() -> None:
    made = Sessions()
    (one, _), (two, _) = made.begin(whose(TOKEN), NOW), made.begin(whose(TOKEN), NOW)
    assert one != two
    found = made.read(one, TOKENS, NOW)
    assert found is not None
    made.end(found, NOW)
    assert (made.read(one, TOKENS, NOW), made.holds(found)) == (None, False)
    assert made.read(two, TOKENS, NOW) is not None


def test_a_ticket_ends_by_itself_and_no_later_than_its_token(tmp_path: Path) -> None:
    made = Sessions(SessionSettings(seconds=60))
    value, _ = made.begin(whose(TOKEN), NOW)
    assert made.read(value, TOKENS, NOW + timedelta(seconds=59)) is not None
    assert made.read(value, TOKENS, NOW + timedelta(seconds=60)) is None
    (tmp_path / "tokens").write_text(f"read {TOKEN} until=2026-01-01T00:00:10Z")
    short = Tokens.from_file(tmp_path / "tokens")
    value, seconds = made.begin(whose(TOKEN, short), NOW)
    assert seconds == 10
    assert made.read(value, short, NOW + timedelta(seconds=10)) is None


def test_without_its_token_a_ticket_is_worth_nothing() -> None:
    made = Sessions()
    value, _ = made.begin(whose(TOKEN), NOW)
    assert made.read(value, Tokens.of(read=[OTHER]), NOW) is None
    assert made.read(value, Tokens.of(publish=[TOKEN], read=[OTHER]), NOW) is None


def test_workers_of_one_deployment_read_one_anothers_tickets_and_nobody_elses() -> None:
    shared = SessionSettings(secret=b"s" * 32)
    value, _ = Sessions(shared).begin(whose(TOKEN), NOW)
    assert Sessions(shared).read(value, TOKENS, NOW) is not None
    assert Sessions(SessionSettings()).read(value, TOKENS, NOW) is None
    assert "ssss" not in repr(shared)


SIGNED = Sessions(SessionSettings(secret=b"s" * 32))
VALUE = SIGNED.begin(whose(TOKEN), NOW)[0]


@given(st.integers(0, 80 * 8 - 1))
def test_a_ticket_with_any_bit_changed_is_none(bit: int) -> None:
    raw = bytearray(base64.urlsafe_b64decode(VALUE + "="))
    raw[bit // 8] ^= 1 << bit % 8
    forged = base64.urlsafe_b64encode(bytes(raw)).rstrip(b"=").decode()
    assert SIGNED.read(forged, TOKENS, NOW) is None


@given(st.one_of(st.text(max_size=200), st.text("ABCDEFabcdef0123456789-_", min_size=107, max_size=107)))
def test_any_text_is_read_without_harm(text: str) -> None:
    assert SIGNED.read(text, TOKENS, NOW) is None


# ---------------------------------------------------------------- logging out, at several workers


def test_who_logs_out_at_one_worker_is_out_at_all(tmp_path: Path) -> None:
    shared = SessionSettings(ended=tmp_path / "ended")
    here, there = Sessions(shared), Sessions(shared)
    value, _ = here.begin(whose(TOKEN), NOW)
    kept, _ = here.begin(whose(TOKEN), NOW)
    found = here.read(value, TOKENS, NOW)
    assert found is not None
    there.look(NOW)
    assert there.holds(found)
    here.end(found, NOW)
    there.look(NOW)
    assert (there.read(value, TOKENS, NOW), there.holds(found)) == (None, False)
    assert there.read(kept, TOKENS, NOW) is not None
    late = Sessions(shared)  # a worker that was started again
    late.look(NOW)
    assert late.read(value, TOKENS, NOW) is None
    assert (tmp_path / "ended").stat().st_mode & 0o777 == 0o600
    for each in (here, there, late):
        each.close()
        each.close()


def test_a_list_of_the_logged_out_that_somebody_tidied_away_is_still_heard_of(tmp_path: Path) -> None:
    shared = SessionSettings(ended=tmp_path / "ended")
    here, there = Sessions(shared), Sessions(shared)
    (tmp_path / "ended").unlink()
    value, _ = here.begin(whose(TOKEN), NOW)
    found = here.read(value, TOKENS, NOW)
    assert found is not None
    here.end(found, NOW)
    there.look(NOW)
    assert there.read(value, TOKENS, NOW) is None
    here.close()
    there.close()


def test_the_list_of_the_logged_out_is_bounded_and_what_it_cannot_hold_ends(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sessions, "_MOST_ENDED", 5)
    shared = SessionSettings(ended=tmp_path / "ended", seconds=100)
    here, there = Sessions(shared), Sessions(shared)

    def log_in_and_out(at: datetime) -> str:
        value, _ = here.begin(whose(TOKEN), at)
        found = here.read(value, TOKENS, at)
        assert found is not None
        here.end(found, at)
        return value

    out = [log_in_and_out(NOW) for _ in range(5)]
    open_, _ = here.begin(whose(TOKEN), NOW)
    later = NOW + timedelta(seconds=200)
    log_in_and_out(later)  # those before have ended by themselves, and are forgotten
    assert len(here._ended) == 1
    for _ in range(4):
        out.append(log_in_and_out(later))
    kept, _ = here.begin(whose(TOKEN), later)
    holder = here.read(kept, TOKENS, later)
    assert holder is not None
    out.append(log_in_and_out(later + timedelta(seconds=1)))  # one too many: all that began before are over
    now = later + timedelta(seconds=2)
    there.look(now)
    for each in (here, there):
        assert len(each._ended) <= 5
        assert all(each.read(value, TOKENS, now) is None for value in [*out, open_, kept])
        assert not each.holds(holder)
        fresh, _ = each.begin(whose(TOKEN), now)
        assert each.read(fresh, TOKENS, now) is not None
        each.close()
