"""What holds for all tests: who may run the privileged ones, and that nothing is skipped unseen.

With CI set in the environment a skip is a failure: a machine that cannot run a test must say so.
"""

from __future__ import annotations

import gc
import os
from collections.abc import Generator

import pytest
from hypothesis import settings
from xdist.remote import Producer
from xdist.scheduler import LoadFileScheduling

WORKER = "PYTEST_XDIST_WORKER"
"""The environment variable by which one of several test processes knows that it is one."""

# The same examples each time, and no limit in real time: the machine may be busy.
settings.register_profile("dmmp", deadline=None, derandomize=True)
settings.load_profile("dmmp")


# Thousands of tests and all that they import stay until the end: looking through them for garbage,
# again and again, takes a third of the time to collect them and an eighth of that to run them.
gc.disable()


def pytest_collection_finish() -> None:
    """Leave out what is there now when garbage is collected."""
    gc.freeze()
    gc.enable()


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Skip the tests that need namespaces where this user may not make any.

    Where several of these run at a time, those that take long come first, and the longest of them
    stand in the last files: the short ones fill the end.
    """
    if WORKER in os.environ and all(item.get_closest_marker("namespace") for item in items):
        items.sort(key=lambda item: item.path, reverse=True)
        items.sort(key=lambda item: item.get_closest_marker("slow") is None)
    if os.geteuid() == 0:
        return
    reason = "needs root; `python -m tests all` makes a user namespace for it"
    for item in items:
        if item.get_closest_marker("namespace"):
            item.add_marker(pytest.mark.skip(reason=reason))


APART = (
    "tests/acceptance/test_leftovers.py",
    "tests/acceptance/test_path_mtu.py",
    "tests/leaf/test_among_members.py",
    "tests/tun/test_device.py",
    "tests/wireshark/test_sessions.py",
)
"""Files whose tests have networks of their own, so that any of them may run anywhere."""


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Producer) -> LoadFileScheduling | None:
    """Where a file's tests stay together, let go those which share nothing."""
    return Apart(config, log) if config.getvalue("dist") == "loadfile" else None


class Apart(LoadFileScheduling):  # type: ignore[misc]
    """Gives a worker the tests of a file, or a single one of those in `APART`."""

    def _split_scope(self, nodeid: str) -> str:
        return nodeid if nodeid.startswith(APART) else super()._split_scope(nodeid)


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
