"""The entry point of the build, whose configuration is in setup.cfg. It writes the commit into the package."""

import os
import runpy
from pathlib import Path

from setuptools import setup
from setuptools.command.build_py import build_py


class BuildWithCommit(build_py):
    """Writes `ava/commit.txt`, which `ava/version.py` reads where there is no checkout."""

    def run(self):
        """Build the package. SOURCE_COMMIT names the commit where no checkout does, as in the image."""
        super().run()
        found = os.environ.get("SOURCE_COMMIT") or runpy.run_path("ava/version.py")["commit"](Path("ava").resolve())
        if found and not self.editable_mode:
            Path(self.build_lib, "ava", "commit.txt").write_text(f"{found}\n")


setup(cmdclass={"build_py": BuildWithCommit})
