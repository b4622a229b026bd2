"""What no file of the project may say: where packages come from, or what a machine it was written on looks like."""

import re
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]

# The names are put together here, so that this file does not say them either.
HOSTS = [".".join(parts) for parts in (("pypi", "org"), ("pythonhosted", "org"), ("npmjs", "org"), ("debian", "org"))]
FORBIDDEN = {
    "a package registry's host": re.compile("|".join(re.escape(host) for host in HOSTS), re.IGNORECASE),
    "a path of one machine": re.compile(r"(?<![\w.:/}$])/(?:work|root|home|Users|opt/wheels)/"),
    "an index option in a lock": re.compile(
        r"^\s*--(?:extra-index-url|index-url|find-links|trusted-host)\b", re.MULTILINE
    ),
}


def said(text: str) -> list[str]:
    """What of the forbidden a text says."""
    return [what for what, pattern in FORBIDDEN.items() if pattern.search(text)]


def committed() -> list[Path]:
    """Every file that is, or with the next commit could be, in the repository."""
    listing = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    names = subprocess.run(listing, cwd=ROOT, capture_output=True, text=True, check=True).stdout.split("\0")
    return [ROOT / name for name in names if name and (ROOT / name).is_file()]


def test_no_file_says_what_is_forbidden() -> None:
    """Every file can be read anywhere, by anyone, and installs from whatever index its reader has."""
    files = committed()
    assert ROOT / "project.yml" in files
    texts = {path: path.read_text(encoding="utf-8", errors="ignore") for path in files}
    assert {str(path): found for path, text in texts.items() if (found := said(text))} == {}


@pytest.mark.parametrize(
    "text",
    [
        f"see https://{HOSTS[0]}/simple",
        f"https://files.{HOSTS[1]}/x.whl",
        "cd " + "/" + "home/someone/project",
        "'" + "/" + "root/.cache'",
        "a==1\n" + "--find-links" + " wheels\n",
        "  " + "--index-url" + " https://example.com",
    ],
)
def test_what_is_forbidden_is_found(text: str) -> None:
    """Each pattern bites."""
    assert len(said(text)) == 1


@pytest.mark.parametrize(
    "text", ["https://api.example.com/home/x", "lib/home/x.py", "./root/x", "pip install --no-index x"]
)
def test_what_is_fine_is_not(text: str) -> None:
    """Addresses and relative paths are no machine's paths."""
    assert said(text) == []
