"""A copy of the project as it is deployed: what the deployer reads and nothing else, with webSecure where it is wanted.

A variable that is unset refuses a whole deployment, so project.yml itself cannot say "this secret, or none": it leaves
webSecure out, which is off. The copy has it in every function on the web when WEB_SECURE holds a value. It lacks what
the configured scheme of inbound webhooks does not read and nobody has set, and names the one namespace it may go to.
"""

import argparse
import os
import re
import shutil
import sys
from collections.abc import Mapping
from pathlib import Path

from ops import deployer_rules
from ops.deployer_template import TemplateError
from ops.functions import PACKAGES_FOLDER, PROJECT_FILE, ROOT

VARIABLE = "WEB_SECURE"
_SCHEME = "METAKEEP_WEBHOOK_SCHEME"
# What only another scheme reads: the library asks for the variables of the configured one.
_OF_THE_OTHER: dict[str, tuple[str, ...]] = {
    "p256": ("METAKEEP_WEBHOOK_SECRETS",),
    "standard": ("METAKEEP_WEBHOOK_SENDER_KEYS", "METAKEEP_WEBHOOK_HOST", "METAKEEP_WEBHOOK_PATH"),
}
_OF_THE_OTHER["none"] = (*_OF_THE_OTHER["p256"], *_OF_THE_OTHER["standard"])
_ON_THE_WEB = re.compile(r"^( +)web: (?:raw|true)$", re.MULTILINE)
_NOT_COPIED = shutil.ignore_patterns("__pycache__", "__deployer__.zip", ".built")


def unread(values: Mapping[str, str]) -> set[str]:
    """The variables of the schemes of inbound webhooks that are not configured."""
    return set(_OF_THE_OTHER.get(values.get(_SCHEME, ""), ()))


def left_out(values: Mapping[str, str]) -> set[str]:
    """The variables that need no value: nobody reads them, and they are unset."""
    return {name for name in unread(values) if not values.get(name)}


def project_file(text: str, values: Mapping[str, str], namespace: str | None = None) -> str:
    """project.yml for these values: the secret goes below each `web:` line, still as a name.

    The deployer refuses any namespace but the one that is named: it is asked for by `targetNamespace`.
    """
    for name in left_out(values):
        text = re.sub(rf"^ +{name}: .*\n", "", text, flags=re.MULTILINE)
    if values.get(VARIABLE):
        text = _ON_THE_WEB.sub(rf"\g<0>\n\1webSecure: '${{{VARIABLE}}}'", text)
    return text if namespace is None else text.replace("\npackages:", f"\ntargetNamespace: {namespace}\npackages:", 1)


def lay_out(target: Path, root: Path = ROOT) -> None:
    """Copy what is deployed to `target`, which must not exist or be empty. Raises FileExistsError.

    lib/build comes along, so that the deployer's run of lib/build.sh has nothing to download.
    """
    for folder in (PACKAGES_FOLDER, "lib"):
        shutil.copytree(root / folder, target / folder, ignore=_NOT_COPIED)
    shutil.copyfile(root / PROJECT_FILE, target / PROJECT_FILE)


def fit(folder: Path, values: Mapping[str, str], namespace: str | None = None) -> list[str]:
    """Make the project.yml of a copy that of these values; returns what the deployer would refuse in the copy."""
    path = folder / PROJECT_FILE
    path.write_text(project_file(path.read_text(encoding="utf-8"), values, namespace), encoding="utf-8")
    return deployer_rules.problems(folder, values)


def stage(target: Path, values: Mapping[str, str], root: Path = ROOT) -> list[str]:
    """Lay the copy at `target` and fit it to the values; returns what the deployer would refuse in it."""
    lay_out(target, root)
    return fit(target, values)


def main(arguments: list[str]) -> int:
    """Stage into the folder that is named. Exit 1 with a line for each problem."""
    parser = argparse.ArgumentParser(prog="./doit stage", description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--env", type=Path, default=ROOT / ".env", help="the env file of the deployment (.env)")
    options = parser.parse_args(arguments)
    try:
        found = stage(options.folder, deployer_rules.values_of(options.env, os.environ))
    except FileExistsError as error:
        found = [f"{error.filename} is there already"]
    except TemplateError as error:
        found = [str(error)]
    for problem in found:
        print(f"stage: {problem}", file=sys.stderr)
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
