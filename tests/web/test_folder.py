"""Dashboard folders become frozen data, or a ConfigError that says where."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from livelake.errors import ConfigError, ParameterError, QueryError
from livelake.lake import Upkeep
from livelake.web.folder import CacheDefaults, Dashboard, Query, load
from livelake.web.parameters import Parameter

Write = Callable[..., Path]


@pytest.fixture
def write(tmp_path: Path) -> Write:
    """Writes files (name → text) into a dashboard folder and returns it."""

    def write(folder: str = "space", /, **files: str | bytes) -> Path:
        root = tmp_path / folder
        root.mkdir(exist_ok=True)
        for name, text in files.items():
            content = text if isinstance(text, bytes) else text.encode()
            (root / ("livelake.toml" if name == "toml" else f"{name}.sql")).write_bytes(content)
        return root

    return write


def one(path: Path, **options: Any) -> Dashboard:
    (dashboard,) = load(path, **options)
    return dashboard


def refused(path: Path, **options: Any) -> ConfigError:
    with pytest.raises(ConfigError) as caught:
        load(path, **options)
    return caught.value


FULL = """/*---
title = "Most days in space"
description = "Since 1961."
chart = { mark = "bar", x = "days", y = "name" }
params.limit = { type = "integer", default = 10, min = 1, max = 100, title = "How many" }
refresh = "lazy"
depends_on = ["events/Todo/**"]
span = 2
height = 240
---*/

SELECT name, days FROM astronauts ORDER BY 2 DESC LIMIT $limit
"""


# -- what a folder means -------------------------------------------------------------------------------


def test_a_query_file_is_read_in_full(write: Write) -> None:
    root = write(top_astronauts=FULL)
    query = one(root).queries["top_astronauts"]
    limit = Parameter(name="limit", type="integer", default=10, min=1, max=100, title="How many")
    assert query == Query(
        name="top_astronauts",
        sql="SELECT name, days FROM astronauts ORDER BY 2 DESC LIMIT $limit",
        title="Most days in space",
        description="Since 1961.",
        chart={"mark": "bar", "x": "days", "y": "name"},
        params={"limit": limit},
        refresh="lazy",
        depends_on=("events/Todo/**",),
        span=2,
        height=240,
        file=root / "top_astronauts.sql",
        line=12,
    )


def test_a_file_without_a_header_and_a_folder_without_settings_get_defaults(write: Write) -> None:
    root = write(**{"top-of_all": "SELECT 1;\n"})
    dashboard = one(root)
    assert (dashboard.name, dashboard.title, dashboard.path) == ("space", "Space", root)
    assert (dashboard.attach, dashboard.cache, dashboard.description) == ({}, CacheDefaults(), "")
    query = dashboard.queries["top-of_all"]
    assert (query.title, query.sql, query.chart, query.params) == ("Top of all", "SELECT 1;", None, {})
    assert (query.refresh, query.depends_on, query.span, query.height, query.line) == (
        "eager",
        (),
        1,
        None,
        1,
    )


def test_order_comes_first_and_the_rest_follows_by_name(write: Write) -> None:
    root = write(toml='order = ["c", "b"]', a="SELECT 1", b="SELECT 2", c="SELECT 3", d="SELECT 4")
    assert list(one(root).queries) == ["c", "b", "a", "d"]


def test_settings_are_read(write: Write) -> None:
    root = write(
        toml='title = "In space"\ndescription = "Who and when"\n[cache]\nmax_bytes = 1000\ntime_to_live = 2.5\n',
        a="SELECT 1",
    )
    dashboard = one(root)
    assert (dashboard.title, dashboard.description) == ("In space", "Who and when")
    assert dashboard.cache == CacheDefaults(max_bytes=1000, time_to_live=2.5)


@pytest.mark.parametrize(
    ("uri", "absolute"),
    [
        ("ducklake:space.ducklake", "ducklake:{}/space.ducklake"),
        ("ducklake:sqlite:sales.sqlite", "ducklake:sqlite:{}/sales.sqlite"),
        ("ducklake:sqlite:/srv/sales.sqlite", "ducklake:sqlite:/srv/sales.sqlite"),
        ("sales.duckdb", "{}/sales.duckdb"),
        ("./data/../sales.duckdb", "{}/sales.duckdb"),
        ("ducklake:postgres:dbname=lake host=db", "ducklake:postgres:dbname=lake host=db"),
        ("ducklake:https://example.org/space.db", "ducklake:https://example.org/space.db"),
        ("s3://bucket/space.duckdb", "s3://bucket/space.duckdb"),
        (":memory:", ":memory:"),
    ],
)
def test_paths_in_uris_resolve_against_the_folder(write: Write, uri: str, absolute: str) -> None:
    root = write(toml=f'attach = {{ space = "{uri}" }}', a="SELECT 1")
    assert one(root).attach == {"space": absolute.format(root)}


def test_a_path_in_a_uri_may_begin_at_home(write: Write, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/ada")
    root = write(toml='attach.space = "ducklake:~/space.ducklake"', a="SELECT 1")
    assert one(root).attach == {"space": "ducklake:/home/ada/space.ducklake"}


def test_a_folder_of_folders_is_several_dashboards_by_name(write: Write, tmp_path: Path) -> None:
    write("space", a="SELECT 1")
    write("earth", b="SELECT 1", toml='title = "Here"')
    (tmp_path / "notes").mkdir()
    (tmp_path / ".git").mkdir()
    (tmp_path / ".git" / "x.sql").write_text("not ours")
    assert [dashboard.name for dashboard in load(tmp_path)] == ["earth", "space"]


def test_a_link_to_a_dashboard_keeps_the_name_of_the_link(write: Write, tmp_path: Path) -> None:
    (tmp_path / "orbit").symlink_to(write("space", a="SELECT 1"))
    assert one(tmp_path / "orbit").name == "orbit"


def test_a_dot_is_the_working_folder(write: Write, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(write(a="SELECT 1"))
    assert one(Path(".")).name == "space"


def test_other_and_hidden_files_are_left_alone(write: Write) -> None:
    root = write(a="SELECT 1")
    (root / ".a.sql").write_text("half written")
    (root / "README.md").write_text("hello")
    (root / "old.sql").mkdir()
    assert list(one(root).queries) == ["a"]


# -- the header ----------------------------------------------------------------------------------------


def test_a_header_is_one_only_where_the_file_begins(write: Write) -> None:
    sql = 'SELECT 1 /*---\ntitle = "no"\n---*/ AS x'
    query = one(write(a=sql)).queries["a"]
    assert (query.title, query.sql) == ("A", sql)


def test_a_second_header_is_a_comment(write: Write) -> None:
    query = one(write(a="/*---\nspan = 2\n---*/\n/*---\nspan = 3\n---*/ SELECT 1")).queries["a"]
    assert (query.span, query.sql, query.line) == (2, "/*---\nspan = 3\n---*/ SELECT 1", 4)


def test_a_header_behind_blank_lines_is_refused_rather_than_lost(write: Write) -> None:
    error = refused(write(a="\n\n/*---\nspan = 2\n---*/\nSELECT 1"))
    assert error.line == 3
    assert "first thing in the file" in str(error)


def test_a_header_fits_on_one_line_and_in_windows_line_ends(write: Write) -> None:
    dashboard = one(
        write(a="/*--- span = 2 ---*/ SELECT 1", b=b'\xef\xbb\xbf/*---\r\ntitle = "B!"\r\n---*/\r\nSELECT 1\r\n')
    )
    assert (dashboard.queries["a"].span, dashboard.queries["a"].sql) == (2, "SELECT 1")
    b = dashboard.queries["b"]
    assert (b.title, b.sql, b.line) == ("B!", "SELECT 1", 4)


def test_key_expressions_do_not_end_or_nest_the_comment(write: Write) -> None:
    query = one(write(a='/*---\ndepends_on = ["events/*/a/**", "**/b"]\n---*/\nSELECT 1')).queries["a"]
    assert query.depends_on == ("events/*/a/**", "**/b")
    assert query.sql == "SELECT 1"


def test_a_chart_is_checked_by_whoever_knows_charts(write: Write) -> None:
    root = write(a='/*---\ntitle = "A"\nchart = { mark = "pie" }\n---*/\nSELECT 1')
    assert one(root).queries["a"].chart == {"mark": "pie"}

    def check(chart: Mapping[str, Any]) -> None:
        raise QueryError(f"no mark {chart['mark']!r}")

    error = refused(root, check_chart=check)
    assert (error.line, error.file) == (3, root / "a.sql")
    assert "no mark 'pie'" in str(error)


# -- what is wrong, and where --------------------------------------------------------------------------


def header(*lines: str) -> str:
    return "\n".join(["/*---", *lines, "---*/", "SELECT 1"])


@pytest.mark.parametrize(
    ("text", "line", "said"),
    [
        (header('title = "x"', "span ="), 3, "not TOML"),
        (header('title = "x"', "height = 240", "colour = 1"), 4, "unknown key 'colour'"),
        (header("titel = 'x'"), 2, "did you mean 'title'?"),
        (header("title = 1"), 2, "title must be a text in quotes, not a whole number"),
        (header("title = 'x'", "title = 'y'"), 3, "not TOML"),
        (header("", "# hello", "span = 5"), 4, "span must be a whole number from 1 to 4"),
        (header("span = true"), 2, "span must be"),
        (header("height = 2.5"), 2, "height must be"),
        (header("refresh = 'eagre'"), 2, "did you mean 'eager'?"),
        (header("refresh = 7"), 2, "one of eager, lazy"),
        (header("depends_on = 'a'"), 2, "depends_on must be a list of texts"),
        (header("depends_on = [", "  'a',", "  1,", "]"), 2, "depends_on must be a list of texts"),
        (header("chart = 'bar'"), 2, "chart must be a table"),
        (header("params = 1"), 2, "params must be a table"),
        (header("params.limit = 10"), 2, "params.limit must be a table"),
        (header("params.Limit = {type = 'integer'}"), 2, "cannot be a parameter's name"),
        (header("span = 1", "params.n = {default = 1}"), 3, "needs a type"),
        (header("params.n = {type = 'int'}"), 2, "did you mean 'integer'?"),
        (header("[params.n]", "type = 'integer'", "defualt = 1"), 4, "did you mean 'default'?"),
        (header("[params.n]", "type = 'integer'", "default = 'x'"), 4, "must be a whole number, not a text"),
        (header("params.n = {type = 'integer', default = true}"), 2, "a whole number, not a boolean"),
        (header("params.n = {type = 'integer', default = 5, max = 4}"), 2, "it must be at most 4"),
        (header("params.n = {type = 'integer', min = 5, max = 4}"), 2, "in order"),
        (header(f"params.n = {{type = 'integer', max = {2**63}}}"), 2, "64 bits"),
        (header("params.n = {type = 'number', default = nan}"), 2, "a finite number"),
        (header("params.n = {type = 'number', max = 1" + "0" * 400 + "}"), 2, "a finite number"),
        (header("params.n = {type = 'number', min = 2, max = 1.5}"), 2, "min 2.0 is above max 1.5"),
        (header("params.d = {type = 'date', default = 'monday'}"), 2, "must be a date"),
        (header("params.d = {type = 'date', default = '2024-02-30'}"), 2, "day is out of range"),
        (header("params.d = {type = 'date', default = 2024-01-01T00:00:00}"), 2, "must be a date"),
        (header("params.t = {type = 'timestamp', default = 2024-01-01}"), 2, "must be a moment"),
        (header("params.t = {type = 'timestamp', default = 0001-01-01T00:00:00+14:00}"), 2, "out of range"),
        (header("params.t = {type = 'timestamp', default = 07:30:00}"), 2, "not a time of day"),
        (header("params.c = {type = 'choice'}"), 2, "needs at least one"),
        (header("params.c = {type = 'choice', choices = []}"), 2, "list of different texts"),
        (header("params.c = {type = 'choice', choices = ['a', 1]}"), 2, "list of different texts"),
        (header("params.c = {type = 'choice', choices = [1, 1]}"), 2, "list of different texts"),
        (header("params.c = {type = 'choice', choices = ['a'], default = 'b'}"), 2, "must be one of a"),
        (header("params.c = {type = 'choice', choices = [0, 1], default = true}"), 2, "must be one of 0, 1"),
        (header("params.c = {type = 'choice', choices = ['a'], min = 1}"), 2, "has no min"),
        (header("params.c = {type = 'choice', choices = ['a'], from = 'SELECT 1'}"), 2, "say one of them"),
        (header("params.c = {type = 'choice', from = ' '}"), 2, "from must be a query"),
        (header("params.c = {type = 'choice', from = 1}"), 2, "must be a text in quotes"),
        (header("params.c = {type = 'choice', from = 'SELECT 1', default = 1}"), 2, "it must be a text"),
        (header("params.b = {type = 'boolean', from = 'SELECT 1'}"), 2, "nothing to choose from"),
        (header("params.n = {type = 'integer', step = 0}"), 2, "step must be above 0"),
        (header("params.n = {type = 'integer', step = 1.5}"), 2, "a whole number, not a number"),
        (header("params.s = {type = 'string', step = 1}"), 2, "a string has no step"),
        (header("params.n = {type = 'integer', min = 1, step = 5, default = 5}"), 2, "1 plus a multiple of 5"),
        (header("params.n = {type = 'integer', choices = 0}"), 2, "choices belong to type 'choice'"),
        (header("params.s = {type = 'string', max = 'x'}"), 2, "a whole number, not a text"),
        (header("params.s = {type = 'string', max = 3, default = 'four'}"), 2, "at most 3 characters"),
        (header("x = " + "[" * 5_000 + "]" * 5_000), 1, "not TOML"),
        (header("x = 1" + "0" * 5_000), 1, "not TOML"),
        ("/*---\ntitle = 'x'\nSELECT 1", 1, "never closes"),
        ("/*---\ntitle = 'x\n---*/ SELECT 1", 2, "not TOML"),
        ("/*---\nspan = 2\nx = [\n---*/ SELECT 1", 3, "not TOML"),
        ("", 1, "no SQL"),
        ("/*---\nspan = 2\n---*/\n\n -- later\n /* or never */ ;\n", 5, "no SQL"),
        (b"SELECT 1\nFROM \xff", 2, "not UTF-8"),
    ],
)
def test_a_malformed_query_names_file_and_line(write: Write, text: str | bytes, line: int, said: str) -> None:
    root = write(bad=text)
    error = refused(root)
    assert said in str(error)
    assert (error.file, error.line) == (root / "bad.sql", line)


@pytest.mark.parametrize(
    ("text", "line", "said"),
    [
        ("title = ", 1, "not TOML"),
        ("\ntitel = 'x'", 2, "did you mean 'title'?"),
        ("order = ['a']\n[attach]\nSales = 'x'", 3, "cannot be a catalog name"),
        ("attach.system = 'x'", 1, "cannot be a catalog name"),
        ("attach.sales = 7", 1, "must be a URI"),
        ("attach.sales = ' '", 1, "must be a URI"),
        ('attach.sales = "a\\u0000"', 1, "NUL"),
        ("attach = 'x'", 1, "attach must be a table"),
        ("order = 'a'", 1, "order must be a list"),
        ("title = 'x'\norder = ['aa']", 2, "there is no aa.sql (did you mean 'a'?)"),
        ("order = ['a', 'a']", 1, "names 'a' twice"),
        ("[cache]\nmax_bytes = 1.5", 2, "max_bytes must be a whole number"),
        ("[cache]\n\ntime_to_live = -1", 3, "a number of seconds above 0"),
        ("[cache]\ntime_to_idle = inf", 2, "a number of seconds above 0"),
        ("[cache]\nttl = 1", 2, "unknown key 'cache.ttl'"),
    ],
)
def test_malformed_settings_name_file_and_line(write: Write, text: str, line: int, said: str) -> None:
    root = write(toml=text, a="SELECT 1")
    error = refused(root)
    assert said in str(error)
    assert (error.file, error.line) == (root / "livelake.toml", line)


def test_names_become_urls_and_are_held_to_it(write: Write, tmp_path: Path) -> None:
    assert "'Top Ten' cannot" in str(refused(write("one", **{"Top Ten": "SELECT 1"})))
    assert "'My Space' cannot" in str(refused(write("My Space", a="SELECT 1")))


def test_nothing_to_serve_is_an_error(tmp_path: Path, write: Write) -> None:
    assert "no dashboard here" in str(refused(tmp_path))
    assert "cannot be read as a folder" in str(refused(tmp_path / "missing"))
    settings = write(toml="title = 'x'")
    assert str(refused(settings)).endswith("at least one .sql file")
    for name in ("east", "west"):
        (settings / name).mkdir()
        (settings / name / "q.sql").write_text("SELECT 1")
    assert "livelake.toml makes this folder one dashboard: for those in east, west, take" in str(refused(settings))
    (tmp_path / "file").write_text("")
    assert "cannot be read as a folder" in str(refused(tmp_path / "file"))
    refused(Path("nul\0l"))


def test_one_name_means_one_query_and_one_catalog(write: Write, tmp_path: Path) -> None:
    write("earth", a="SELECT 1", toml="attach.lake = 'x.duckdb'")
    write("space", a="SELECT 1")
    assert "/queries/a can mean only one" in str(refused(tmp_path))
    (tmp_path / "space" / "a.sql").rename(tmp_path / "space" / "b.sql")
    write("space", toml="attach.lake = '../earth/x.duckdb'")
    assert len(load(tmp_path)) == 2
    write("space", toml="attach.lake = 'y.duckdb'")
    assert "attaches a name once" in str(refused(tmp_path))


def test_a_file_that_cannot_be_read_is_a_config_error(write: Write) -> None:
    root = write(a="SELECT 1")
    (root / "b.sql").symlink_to(root / "nowhere")
    error = refused(root)
    assert error.file == root / "b.sql"
    assert "cannot be read" in str(error)
    (root / "b.sql").unlink()
    (root / "livelake.toml").mkdir()
    assert refused(root).file == root / "livelake.toml"


def test_a_file_without_permission_is_a_config_error(write: Write, monkeypatch: pytest.MonkeyPatch) -> None:
    def denied(_: Path) -> bytes:  # root, who runs many a test, may read everything
        raise PermissionError(13, "Permission denied")

    root = write(a="SELECT 1")
    monkeypatch.setattr(Path, "read_bytes", denied)
    assert "cannot be read: Permission denied" in str(refused(root))


# -- parameters ----------------------------------------------------------------------------------------


def parameter(kind: str, **more: Any) -> Parameter:
    return Parameter(name="p", type=kind, **more)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("kind", "text", "value"),
    [
        ("integer", "-42", -42),
        ("integer", "+007", 7),
        ("number", "2.5", 2.5),
        ("number", "-.5e3", -500.0),
        ("number", "7", 7.0),
        ("string", "", ""),
        ("string", "a'; DROP TABLE x", "a'; DROP TABLE x"),
        ("boolean", "true", True),
        ("boolean", "false", False),
        ("date", "2024-02-29", date(2024, 2, 29)),
        ("timestamp", "2024-01-15 12:30", datetime(2024, 1, 15, 12, 30)),
        ("timestamp", "2024-01-15T12:30:00.5Z", datetime(2024, 1, 15, 12, 30, 0, 500_000, UTC)),
        ("timestamp", "2024-01-15T12:30:00+02:00", datetime(2024, 1, 15, 10, 30, tzinfo=UTC)),
    ],
)
def test_a_text_becomes_a_value_of_the_type(kind: str, text: str, value: object) -> None:
    parsed = parameter(kind).parse(text)
    assert parsed == value
    assert type(parsed) is type(value)


@pytest.mark.parametrize(
    ("kind", "text", "said"),
    [
        ("integer", "", "must be a whole number"),
        ("integer", " 1", "must be a whole number"),
        ("integer", "1\n", "must be a whole number"),
        ("integer", "1_000", "must be a whole number"),
        ("integer", "٣", "must be a whole number"),
        ("integer", "1.0", "must be a whole number"),
        ("integer", "9" * 5_000, "must be a whole number"),
        ("number", "nan", "must be a number"),
        ("number", "1e999", "must be finite"),
        ("number", ".", "must be a number"),
        ("boolean", "True", "true or false"),
        ("date", "20240115", "must be a date"),
        ("date", "2024-02-30", "day is out of range"),
        ("timestamp", "2024-01-15", "must be a moment"),
        ("timestamp", "2024-01-15T25:00", "must be a moment"),
        ("timestamp", "0001-01-01T00:00+14:00", "must be a moment"),
    ],
)
def test_a_text_that_is_not_of_the_type_is_refused(kind: str, text: str, said: str) -> None:
    with pytest.raises(ParameterError, match=said):
        parameter(kind).parse(text)


def test_bounds_hold_for_what_is_given() -> None:
    with pytest.raises(ParameterError, match="parameter 'p': '0' was given; it must be at least 1"):
        parameter("integer", min=1).parse("0")
    with pytest.raises(ParameterError, match="at most 2024-12-31"):
        parameter("date", max=date(2024, 12, 31)).parse("2025-01-01")
    with pytest.raises(ParameterError, match="at most 2 characters"):
        parameter("string", max=2).parse("abc")
    moment = parameter("timestamp", min=datetime(2024, 1, 1, tzinfo=UTC))
    assert moment.parse("2024-01-01T00:00")
    with pytest.raises(ParameterError, match="at least"):
        moment.parse("2023-12-31T23:59")


def test_integers_are_64_bits_and_strings_short_unless_the_file_says_otherwise(write: Write) -> None:
    query = one(write(a=header("params.n.type = 'integer'", "params.s.type = 'string'"))).queries["a"]
    assert query.params["n"].parse(str(2**63 - 1)) == 2**63 - 1
    with pytest.raises(ParameterError, match="at most"):
        query.params["n"].parse(str(2**63))
    with pytest.raises(ParameterError, match="at most 1000 characters"):
        query.params["s"].parse("x" * 1001)


def test_a_choice_returns_what_the_file_lists() -> None:
    assert parameter("choice", choices=(2023, 2024)).parse("2024") == 2024
    with pytest.raises(ParameterError, match="'2' was given; it must be one of a, b"):
        parameter("choice", choices=("a", "b")).parse("2")


def test_a_long_text_is_cut_in_the_message() -> None:
    with pytest.raises(ParameterError) as caught:
        parameter("boolean").parse("x" * 10_000)
    assert len(str(caught.value)) < 200


PARAMS = header(
    "params.limit = { type = 'integer', default = 10 }",
    "params.since = { type = 'date', default = 2024-01-15 }",
    "params.until = { type = 'timestamp', default = '2024-01-15T12:00:00+01:00' }",
    "params.ratio = { type = 'number', default = 1 }",
    "params.who = { type = 'string' }",
)


@pytest.fixture
def query(write: Write) -> Query:
    return one(write(a=PARAMS)).queries["a"]


def test_bind_applies_defaults_in_the_order_of_the_file(query: Query) -> None:
    bound = query.bind({"who": "ada", "limit": "3"})
    assert list(bound.items()) == [
        ("limit", 3),
        ("since", date(2024, 1, 15)),
        ("until", datetime(2024, 1, 15, 11, tzinfo=UTC)),
        ("ratio", 1.0),
        ("who", "ada"),
    ]
    assert type(bound["ratio"]) is float


def test_bind_refuses_what_it_does_not_know_lacks_or_got_twice(query: Query) -> None:
    with pytest.raises(
        ParameterError, match=r"no parameter 'limt' \(did you mean 'limit'\?\); it takes limit, since"
    ):
        query.bind({"limt": "3", "who": "x"})
    with pytest.raises(ParameterError, match="'who' is missing"):
        query.bind({})
    with pytest.raises(ParameterError, match="'who' was given twice"):
        query.bind([("who", "x"), ("who", "y")])


def test_bind_of_a_query_without_parameters_says_so(write: Write) -> None:
    with pytest.raises(ParameterError, match="it takes none"):
        one(write(a="SELECT 1")).queries["a"].bind({"x": "1"})


# -- any file at all -----------------------------------------------------------------------------------

_value = st.recursive(
    st.one_of(
        st.sampled_from(
            [
                "true",
                "1",
                "-5",
                "2.5",
                "nan",
                "inf",
                "'x'",
                "''",
                "2024-01-15",
                "2024-01-15T10:00:00Z",
                "10:00:00",
            ]
        ),
        st.integers(-(10**30), 10**30).map(str),
        st.sampled_from(["integer", "number", "string", "boolean", "date", "timestamp", "choice"]).map(repr),
    ),
    lambda inner: st.one_of(
        st.lists(inner, max_size=3).map(lambda items: f"[{', '.join(items)}]"),
        st.lists(
            st.tuples(st.sampled_from(["type", "default", "min", "max", "choices", "title", "mark"]), inner),
            max_size=5,
            unique_by=lambda pair: pair[0],
        ).map(lambda pairs: "{" + ", ".join(f"{key} = {value}" for key, value in pairs) + "}"),
    ),
    max_leaves=6,
)
_key = st.sampled_from(
    [
        "title",
        "description",
        "chart",
        "params",
        "params.n",
        "refresh",
        "depends_on",
        "span",
        "height",
        "attach",
        "attach.a",
        "order",
        "cache",
        "cache.max_bytes",
        "cache.time_to_live",
        "nonsense",
        "'ü'",
    ]
)
_toml = st.lists(st.tuples(_key, _value).map(" = ".join), max_size=5).map("\n".join)
_settings = settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


def places(error: ConfigError) -> bool:
    """Whether an error names a file, and a line that the file has."""
    if error.file is None or error.line is None or not error.file.is_file():
        return error.file is not None
    return 1 <= error.line <= error.file.read_bytes().count(b"\n") + 1


def consume(root: Path) -> None:
    """Loads, and uses what loaded: no file may end in anything but a ConfigError."""
    try:
        dashboards = load(root)
    except ConfigError as error:
        if not places(error):
            raise
        return
    for loaded in dashboards[0].queries.values():
        for parameter in loaded.params.values():
            assert parameter.default is None or parameter.default == parameter.default
            if isinstance(parameter.default, float):
                assert math.isfinite(parameter.default)
            for text in ("", "1", "-0.5", "2024-01-15", "2024-01-15T00:00", "x"):
                try:
                    parameter.parse(text)
                except ParameterError:
                    continue


@_settings
@given(st.one_of(st.binary(max_size=200), st.text(max_size=200).map(lambda t: t.encode("utf-8", "replace"))))
@example(b"/*---\x00---*/")
@example(b"/*---a.b=1\na=2---*/SELECT 1")
def test_no_bytes_make_a_query_raise_anything_else(write: Write, content: bytes) -> None:
    consume(write(a=content))
    consume(write(a=b"/*---" + content))
    consume(write(a=b"/*---\n" + content + b"\n---*/\nSELECT 1"))


@_settings
@given(_toml)
def test_no_header_makes_a_query_raise_anything_else(write: Write, toml: str) -> None:
    consume(write(a=f"/*---\n{toml}\n---*/\nSELECT 1"))


@_settings
@given(st.one_of(_toml.map(str.encode), st.binary(max_size=100)))
def test_no_settings_make_a_folder_raise_anything_else(write: Write, toml: bytes) -> None:
    consume(write(a="SELECT 1", toml=toml))


@pytest.mark.parametrize(("bounds", "text", "is_right"), [
    ({"step": 0.1}, "0.3", True), ({"step": 0.1}, "0.35", False), ({"step": 0.1, "min": 0.05}, "0.35", True),
    ({"step": 5}, "-15", True), ({"step": 5, "min": 1}, "6", True), ({"step": 5, "min": 1}, "5", False),
    ({"step": 1e-300}, "1e300", True), ({"step": 7}, "1e300", False),
])  # fmt: skip
def test_numbers_are_held_to_steps_by_their_decimal_digits(bounds: dict[str, Any], text: str, is_right: bool) -> None:
    made = parameter("number" if "." in text or "e" in text else "integer", **bounds)
    if is_right:
        made.parse(text)
    else:
        with pytest.raises(ParameterError, match="a multiple of"):
            made.parse(text)


def test_a_choice_from_rows_is_a_text_of_a_bounded_length(write: Any) -> None:
    query = one(write(a=header("params.c = { type = 'choice', from = 'SELECT region FROM orders' }"))).queries["a"]
    made = query.params["c"]
    assert (made.source, made.choices, made.required) == ("SELECT region FROM orders", (), True)
    assert made.parse("anything at all") == "anything at all"
    with pytest.raises(ParameterError, match="at most 1000 characters"):
        made.parse("x" * 1_001)


# ---------------------------------------------------------------- upkeep


def test_a_catalog_in_a_package_stands_where_it_stands(write: Write) -> None:
    root = write(toml='attach = { space = "embedded:frozenlake/data/space.db" }', a="SELECT 1")
    assert one(root).attach == {"space": "embedded:frozenlake/data/space.db"}


def test_upkeep_is_for_the_lakes_that_are_written_here(write: Write) -> None:
    attach = (
        '[attach]\nspace = "ducklake:sqlite:space.sqlite"\nplain = "x.duckdb"\n'
        'far = "ducklake:https://example.org/far.db"\nshipped = "embedded:frozenlake/space.db"\n'
    )
    schedule = one(write(toml=attach + '[maintain]\nevery = "90s"', a="SELECT 1")).maintain
    assert schedule is not None
    assert (schedule.every, schedule.catalogs) == (timedelta(seconds=90), ("space",))
    assert schedule.upkeep == Upkeep()
    told = one(write(toml=attach + '[maintain]\nevery = "1h"\nexpire_after = "2d"\nkeep = 9', a="SELECT 1")).maintain
    assert told is not None
    assert (told.upkeep.expire_after, told.upkeep.keep) == (timedelta(days=2), 9)


@pytest.mark.parametrize(
    ("toml", "line", "says"),
    [
        ("[maintain]\nexpire_after = '7d'", 1, 'maintain wants every = "1h"'),
        ("[maintain]\nevery = 'often'", 2, "'often' is not a span of time"),
        ("[maintain]\nevery = '0s'", 2, "a second at least"),
        ("[maintain]\nevery = 60", 2, "maintain.every must be a text"),
        ("[maintain]\nevery = '1h'\nkeep = 0", 3, "maintain.keep must be a whole number from 1"),
        ("[maintain]\nevery = '1h'\nalone = 'yes'", 3, "maintain.alone must be true or false"),
        ("[maintain]\nevery = '1h'\nexpire = '7d'", 3, "unknown key 'maintain.expire'"),
        ("[attach]\nx = 'x.duckdb'\n[maintain]\nevery = '1h'", 3, "nothing to tidy"),
    ],
)
def test_upkeep_that_cannot_be_is_told_with_its_line(write: Write, toml: str, line: int, says: str) -> None:
    root = write(toml=toml, a="SELECT 1")
    found = refused(root)
    assert (found.line, says in str(found)) == (line, True), found
