"""The folders whose files run one after the other, in one tester.

The tests of such a folder share a running system. With `--dist loadfile` alone each tester that gets one of its files
would start a system of its own.
"""

from __future__ import annotations

from xdist.scheduler import LoadFileScheduling

FOLDERS = ("tests/acceptance/dashboard/",)


class Scheduling(LoadFileScheduling):
    """Gives each file to one tester, and the files of `FOLDERS` to the same."""

    def _split_scope(self, nodeid: str) -> str:
        return next((folder for folder in FOLDERS if nodeid.startswith(folder)), super()._split_scope(nodeid))
