"""What pyproject.toml cannot say of a release. setuptools calls this; see `tool.setuptools.cmdclass` there.

The description is README.md without the links into the repository, which lead nowhere on the page of a package index.
The source distribution holds what the tests need, but for the photos and networks that tests/README.md lists.
"""

from __future__ import annotations

import re
from pathlib import Path

from setuptools.command.egg_info import egg_info, manifest_maker

_LINK_INTO_REPOSITORY = re.compile(r"\[([^\]]+)\]\((?!https?:|#)[^)]+\)")
_SOURCES = (
    "include CHANGELOG.md index/README.md",
    "graft facedex",
    "graft scripts",
    "graft tests",
    "global-exclude __pycache__ *.py[cod] .DS_Store",
)


class Release(egg_info):  # type: ignore[misc]
    """The step that collects what is known of the package, with the two things above."""

    def run(self) -> None:
        """Set the description and write the package's metadata."""
        text = Path("README.md").read_text("utf-8")
        self.distribution.metadata.long_description = _LINK_INTO_REPOSITORY.sub(r"\1", text)
        self.distribution.metadata.long_description_content_type = "text/markdown"
        super().run()

    def find_sources(self) -> None:
        """List the files of the source distribution."""
        maker = _SourceList(self.distribution)
        maker.manifest = str(Path(self.egg_info) / "SOURCES.txt")
        maker.ignore_egg_info_dir = self.ignore_egg_info_in_manifest
        maker.run()
        self.filelist = maker.filelist


class _SourceList(manifest_maker):  # type: ignore[misc]
    def add_defaults(self) -> None:
        super().add_defaults()
        for line in _SOURCES:
            self.filelist.process_template_line(line)
