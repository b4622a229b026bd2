"""A copy of the project as it is deployed: what the deployer reads and nothing else, with webSecure where it is wanted.

A variable that is unset refuses a whole deployment, so project.yml itself cannot say "this secret, or none": it leaves
webSecure out, which is off. The copy has it in every function on the web when WEB_SECURE holds a value.
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
_ON_THE_WEB = re.compile(r"^( +)web: (?:raw|true)$", re.MULTILINE)
_NOT_COPIED = shutil.ignore_patterns("__pycache__", "__deployer__.zip", ".built")


def project_file(text: str, values: Mapping[str, str]) -> str:
    """project.yml for these values: the secret goes below each `web:` line, still as a name."""
    if not values.get(VARIABLE):
        return text
    return _ON_THE_WEB.sub(rf"\g<0>\n\1webSecure: '${{{VARIABLE}}}'", text)


def stage(target: Path, values: Mapping[str, str], root: Path = ROOT) -> list[str]:
    """Lay the copy at `target`, which must not exist or be empty; returns what the deployer would refuse in it.

    lib/build comes along, so that the deployer's run of lib/build.sh has nothing to download.
    """
    for folder in (PACKAGES_FOLDER, "lib"):
        shutil.copytree(root / folder, target / folder, ignore=_NOT_COPIED)
    text = (root / PROJECT_FILE).read_text(encoding="utf-8")
    (target / PROJECT_FILE).write_text(project_file(text, values), encoding="utf-8")
    return deployer_rules.problems(target, values)


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
