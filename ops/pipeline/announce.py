"""What was deployed where, as a record in build/deployments/, and the text that tells people of it.

The text goes to the category "Deployments" of the organisation's GitHub Discussions; in the pipeline it is the summary
of the run, ready to copy.
"""

import argparse
import json
import os
import re
import sys
from dataclasses import asdict, dataclass
from pathlib import Path

from ops.functions import ROOT

FOLDER = Path("build/deployments")
DISCUSSIONS = "https://github.com/orgs/getsmart-token/discussions"
CATEGORY = "Deployments"


@dataclass(frozen=True)
class Record:
    """One deployment. Nothing in it is secret."""

    environment: str
    url: str
    colour: str
    namespaces: tuple[str, ...]
    functions: int
    version: str
    commit: str
    release_sha256: str
    deployed_at: str
    deployed_by: str


def keep(record: Record, root: Path = ROOT) -> Path:
    """Write the record down; its path within the tree."""
    path = FOLDER / f"{record.environment}-{record.deployed_at.replace(':', '')}-{record.colour}.json"
    (root / FOLDER).mkdir(parents=True, exist_ok=True)
    (root / path).write_text(json.dumps(asdict(record), indent=2) + "\n", encoding="utf-8")
    return path


def newest(environment: str | None = None, root: Path = ROOT) -> Record | None:
    """The record that was written last, of that environment or of any."""
    records = [_read(path) for path in (root / FOLDER).glob("*.json")]
    wanted = [record for record in records if environment in {None, record.environment}]
    return max(wanted, key=lambda record: record.deployed_at, default=None)


def _read(path: Path) -> Record:
    content = json.loads(path.read_text(encoding="utf-8"))
    return Record(**{**content, "namespaces": tuple(content["namespaces"])})


def text(record: Record, *, is_promoted: bool = False, root: Path = ROOT) -> str:
    """The announcement, in Markdown: title, what runs where, what changed for callers, whom to ask."""
    state = "It serves all traffic." if is_promoted else f"It is deployed to {record.colour} and serves nobody yet."
    return f"""\
# {record.environment}: {record.version}

{state} Posted under "{CATEGORY}" at {DISCUSSIONS}.

| what | value |
|---|---|
| version | `{record.version}` (commit `{record.commit}`) |
| colour | {record.colour}, {record.functions} functions in {len(record.namespaces)} namespace(s) |
| deployed | {record.deployed_at} by {record.deployed_by} |
| files | SHA-256 `{record.release_sha256}` |
| live API | {record.url} |

## What changed for callers

{_unreleased(root)}

Problems: the log and `{record.url}/v1/ops/health` first, then the category "DevOps Support" at {DISCUSSIONS}.
Back to the version before: `./doit rollback {record.environment}`.
"""


def _unreleased(root: Path) -> str:
    """What the changelog has under its first heading of a version."""
    sections = re.split(r"^## .*$", (root / "CHANGELOG.md").read_text(encoding="utf-8"), flags=re.MULTILINE)
    return sections[1].strip() if len(sections) > 1 else "Nothing."


def main(arguments: list[str]) -> int:
    """Print the announcement of the newest deployment; also into the run's summary in the pipeline."""
    parser = argparse.ArgumentParser(prog="./doit announce", description=__doc__)
    parser.add_argument("environment", nargs="?", help="of which environment; else of any")
    parser.add_argument("--promoted", action="store_true", help="it serves all traffic now")
    options = parser.parse_args(arguments)
    record = newest(options.environment)
    if record is None:
        print(f"announce: no deployment is recorded in {FOLDER}", file=sys.stderr)
        return 1
    announcement = text(record, is_promoted=options.promoted)
    print(announcement)
    if summary := os.environ.get("GITHUB_STEP_SUMMARY"):
        with Path(summary).open("a", encoding="utf-8") as file:
            file.write(announcement)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
