"""What pyproject.toml cannot say: the description of the released package.

It is README.md without the links into the repository, which lead nowhere on the page of a package index. Everything
else is in pyproject.toml.
"""

import re
from pathlib import Path

from setuptools import setup

_LINK_INTO_REPOSITORY = re.compile(r"\[([^\]]+)\]\((?!https?:|#)[^)]+\)")

setup(
    long_description=_LINK_INTO_REPOSITORY.sub(r"\1", Path(__file__).with_name("README.md").read_text("utf-8")),
    long_description_content_type="text/markdown",
)
