"""What holds for all tests: who may run the privileged ones, and that nothing is skipped unseen.

With CI set in the environment a skip is a failure: a machine that cannot run a test must say so.
"""

from __future__ import annotations

import os
from collections.abc import Generator

import pytest
from hypothesis import settings

# The same examples each time, and no limit in real time: the machine may be busy.
settings.register_profile("dmmp", deadline=None, derandomize=True)
settings.load_profile("dmmp")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Skip the tests that need namespaces where this user may not make any."""
    if os.geteuid() == 0:
        return
    reason = "needs root; `python -m tests all` makes a user namespace for it"
    for item in items:
        if item.get_closest_marker("namespace"):
            item.add_marker(pytest.mark.skip(reason=reason))


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Turn a test's skip into a failure when CI is set."""
    report = yield
    if os.environ.get("CI") and report.skipped and not hasattr(report, "wasxfail"):
        report.outcome = "failed"
        report.longrepr = f"{item.nodeid}: skipped, and with CI set a skip is a failure: " + (
            report.longrepr[2] if isinstance(report.longrepr, tuple) else str(report.longrepr)
        )
    return report


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report(
    collector: pytest.Collector,
) -> Generator[None, pytest.CollectReport, pytest.CollectReport]:
    """Turn the skip of a whole module into a failure when CI is set."""
    report = yield
    if os.environ.get("CI") and report.skipped:
        report.outcome = "failed"
        report.longrepr = f"{collector.nodeid}: skipped, and with CI set a skip is a failure"
    return report
