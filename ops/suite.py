"""Run the tests: the whole suite holds the coverage floor, a part of it is just run."""

import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

EVERYTHING = ["-m", "long or not long"]
# Two halves side by side, a file never split: each half has its own database and sandbox.
SIDE_BY_SIDE = ["-n", "2", "--dist", "loadfile"]


def arguments(words: Sequence[str]) -> list[str]:
    """What pytest is told: --long lifts the mark filter; without a selection of one's own, coverage is measured too.

    A word that is an existing path, or one of pytest's -k and -m, is a selection.
    """
    own = [word for word in words if word != "--long"]
    selected = any(word in {"-k", "-m", "--lf"} or Path(word.split("::")[0]).exists() for word in own)
    measured = [] if selected else [*SIDE_BY_SIDE, "--cov", "--cov-report=term"]
    return [*measured, *(EVERYTHING if "--long" in words else []), *own]


def main(words: Sequence[str]) -> int:
    """Run pytest with these words and return its exit code."""
    return int(pytest.main(arguments(words)))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
