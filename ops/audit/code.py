"""Static analysis of the code (bandit), and a search for secrets in every line that the history ever added."""

import json
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

from detect_secrets.core import scan
from detect_secrets.core.plugins.util import get_mapping_from_secret_type_to_class
from detect_secrets.settings import get_filters, transient_settings

from ops.audit.findings import Finding, NotChecked
from ops.functions import ROOT

ROOMS = ("lib/getsmart", "packages", "serving", "ops", "local", "migrations", "dodo.py")
_FILTERS = (
    "allowlist.is_line_allowlisted",
    "heuristic.is_indirect_reference",
    "heuristic.is_likely_id_string",
    "heuristic.is_lock_file",
    "heuristic.is_not_alphanumeric_string",
    "heuristic.is_potential_uuid",
    "heuristic.is_prefixed_with_dollar_sign",
    "heuristic.is_sequential_string",
    "heuristic.is_swagger_file",
    "heuristic.is_templated_secret",
)


def static(root: Path = ROOT) -> Iterator[Finding]:
    """What bandit has against the code, from medium severity on: ruff's S rules look for the rest at each commit."""
    rooms = [room for room in ROOMS if (root / room).exists()]
    command = [sys.executable, "-m", "bandit", "--recursive", *rooms, "--format", "json", "--quiet", "-ll"]
    done = subprocess.run(command, cwd=root, capture_output=True, text=True, check=False)
    try:
        results = json.loads(done.stdout)["results"]
    except ValueError:
        raise NotChecked(f"bandit: {done.stderr.strip()[-300:]}") from None
    for one in results:
        name = one["filename"].removeprefix("./")
        yield Finding(
            f"bandit:{one['test_id']}:{name}",
            f"{name}:{one['line_number']}: {one['issue_text']} ({one['issue_severity'].lower()})",
        )


def history(left_out: Sequence[str], strings: Sequence[str], root: Path = ROOT) -> Iterator[Finding]:
    """Each secret that a commit ever added, by where it stands and its digest; `left_out` are patterns of file names.

    Raises NotChecked in a tree without its whole history.
    """
    if _git(root, "rev-parse", "--is-shallow-repository").strip() != "false":
        raise NotChecked("the history is not here: a shallow clone, or no clone at all")
    known: dict[str, type] = get_mapping_from_secret_type_to_class()
    plugins = [{"name": plugin.__name__} for plugin in known.values()]
    by_pattern = {"should_exclude_file": left_out, "should_exclude_secret": strings}
    filters = [
        *({"path": f"detect_secrets.filters.{name}"} for name in _FILTERS),
        *({"path": f"detect_secrets.filters.regex.{name}", "pattern": [*found]} for name, found in by_pattern.items()),
    ]
    added = _git(root, "log", "--patch", "--unified=0", "--no-renames", "--no-color", "--no-ext-diff", "HEAD")
    seen = set()
    with transient_settings({"plugins_used": plugins, "filters_used": filters}) as settings:
        settings.disable_filters("detect_secrets.filters.common.is_invalid_file")  # a file of long ago is not on disk
        get_filters.cache_clear()
        for secret in scan.scan_diff(added):
            found = Finding(
                f"history:{secret.filename}:{secret.secret_hash[:12]}",
                f"{secret.filename}: {secret.type}, added at line {secret.line_number} by some commit: "
                f"git log -p -- {secret.filename}",
            )
            if found.id not in seen:
                seen.add(found.id)
                yield found


def _git(root: Path, *words: str) -> str:
    done = subprocess.run(["git", *words], cwd=root, capture_output=True, check=False)  # noqa: S607 - git of the PATH
    return done.stdout.decode(errors="replace")
