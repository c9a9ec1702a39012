"""Skipped tests are told by name; on CI only those that are expected there may be skipped."""

from __future__ import annotations

import os

import pytest

# What may be skipped on CI, by the beginning of its name, and why.
ALLOWED_ON_CI: dict[str, str] = {
    "tests/cli/test_demo.py::test_the_demo_works_as_an_unprivileged_user": "needs root, to become somebody else",
    "tests/lake/attacks/test_sql.py::test_no_packet_leaves": "needs network namespaces",
    "tests/lake/faults/test_disk_full.py": "needs the right to mount a file system",
    "tests/faults/test_faults.py::test_i4_the_network_is_cut_without_a_word": "needs network namespaces",
}


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    skipped = {report.nodeid: report for report in terminalreporter.stats.get("skipped", [])}
    if skipped:
        terminalreporter.section("skipped, by name")
        for name, report in skipped.items():
            reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else report.longrepr
            terminalreporter.line(f"{name}: {reason}")


@pytest.hookimpl(trylast=True)
def pytest_sessionfinish(session: pytest.Session) -> None:
    if os.environ.get("CI") != "true":
        return
    reporter = session.config.pluginmanager.get_plugin("terminalreporter")
    skipped = {report.nodeid for report in reporter.stats.get("skipped", [])} if reporter else set()
    unexpected = sorted(name for name in skipped if not name.startswith(tuple(ALLOWED_ON_CI)))
    if unexpected and session.exitstatus == 0:
        print(f"\nskipped on CI, but not allowed to be: {', '.join(unexpected)}")
        session.exitstatus = pytest.ExitCode.TESTS_FAILED
