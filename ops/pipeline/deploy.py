"""Deploy one colour of an environment: stage, check, then doctl; a record is left, and an announcement printed.

`idle` is the colour that the database does not call active, and that has no calls: nobody is sent there until
`./doit promote`.
"""

import argparse
import getpass
import os
import sys
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from pymongo.errors import PyMongoError

from getsmart import clock
from ops import functions, settings, stage
from ops.deployer_template import TemplateError, Values
from ops.gateway.environment import COLOURS, Colour
from ops.package import PackageError, build
from ops.pipeline import announce, doctl, environments, forgotten, release, target
from ops.pipeline.announce import Record
from ops.pipeline.environments import Environment, EnvironmentProblem
from ops.pipeline.release import Release


@dataclass(frozen=True)
class Order:
    """What shall be deployed where."""

    environment: Environment
    colour: Colour
    secrets: Values
    by: str


def deploy(order: Order, folder: Path, built: Release) -> Record:
    """Deploy a folder that holds a release to every namespace of the colour.

    Raises EnvironmentProblem before anything has happened, DoctlFailed when a namespace refused.
    """
    environment, colour = order.environment, order.colour
    values = environments.values(environment, colour, built.version, order.secrets, folder)
    keys = environments.access_keys(environment, colour, order.secrets)
    token = order.secrets.get(doctl.TOKEN)
    mask({*values.values(), *filter(None, [*keys, token])}, environment.variables.values())
    template = (folder / functions.PROJECT_FILE).read_text(encoding="utf-8")
    with tempfile.TemporaryDirectory() as private:  # made for its owner only, as is what is in it
        env_file = Path(private) / "env"
        env_file.touch(mode=0o600)
        env_file.write_text("".join(f"{name}='{value}'\n" for name, value in values.items()), encoding="utf-8")
        for namespace, key in zip(environment.namespaces[colour], keys, strict=True):
            (folder / functions.PROJECT_FILE).write_text(template, encoding="utf-8")
            if problems := stage.fit(folder, values, namespace):
                raise EnvironmentProblem("\n".join(problems))
            doctl.connect(namespace, key, token)
            print(doctl.deploy(folder, env_file, token).strip(), flush=True)
    return Record(
        environment=environment.name,
        url=environment.url,
        colour=colour,
        namespaces=environment.namespaces[colour],
        functions=len(functions.load(folder)),
        version=built.version,
        commit=built.commit,
        release_sha256=built.sha256,
        deployed_at=clock.to_wire(clock.now()),
        deployed_by=order.by,
    )


def mask(values: set[str], public: object) -> None:
    """In the pipeline: have every value that is not public left out of all that is logged from here on."""
    if os.environ.get("GITHUB_ACTIONS") == "true":
        for value in sorted(values - set(public)):  # type: ignore[call-overload]
            print(f"::add-mask::{value}", flush=True)


def main(arguments: list[str]) -> int:
    """Deploy. Exit 0, or 1 with a line for each problem."""
    parser = argparse.ArgumentParser(prog="./doit deploy", description=__doc__)
    parser.add_argument("environment", help="a file of deploy/environments")
    parser.add_argument("--colour", choices=("idle", *COLOURS), default="idle")
    parser.add_argument(
        "--release", type=Path, help="what ./doit release made; without it the working tree is deployed"
    )
    parser.add_argument("--again", action="store_true", help="idle: also the version that the other colour serves with")
    own = settings.OWN if settings.OWN.is_file() else None
    parser.add_argument(
        "--env", type=Path, default=own, help="the file with the secrets (.env); the process comes before it"
    )
    options = parser.parse_args(arguments)
    try:
        record = _deploy(options, os.environ)
    except (EnvironmentProblem, TemplateError, doctl.DoctlFailed, release.ReleaseProblem, PackageError) as error:
        for line in str(error).splitlines():
            print(f"deploy: {line}", file=sys.stderr)
        return 1
    except PyMongoError as error:
        print(f"deploy: which colour is idle? the database does not say: {type(error).__name__}", file=sys.stderr)
        return 1
    print(f"record: {announce.keep(record)}\n\n{announce.text(record)}")
    return 0


def _deploy(options: argparse.Namespace, environ: Mapping[str, str]) -> Record:
    environment = environments.load(options.environment)
    secrets = environments.given(options.env, environ)
    colour: Colour = options.colour
    there = None
    if options.colour == "idle":
        known = {**secrets, **environment.variables}
        uri = known.get("MONGODB_URI", "")
        if not uri or forgotten.is_example("MONGODB_URI", uri):
            raise EnvironmentProblem("MONGODB_URI is unset, or an example: its database knows which colour is idle")
        there = target.idle(options.environment, uri, known["MONGODB_DATABASE"])
        colour = there.colour
    if options.release is None:  # what is forgotten is said before anything is built
        environments.values(environment, colour, "tree", secrets)
    by = environ.get("GITHUB_ACTOR") or getpass.getuser()
    with tempfile.TemporaryDirectory() as folder:
        staged = Path(folder)
        built = _laid_out(options.release, staged)
        if there is not None and not options.again:
            target.refuse_again(there, built.version)
        print(f"deploying {built.version} to {environment.name}, {colour}", flush=True)
        return deploy(Order(environment, colour, secrets, by), staged, built)


def _laid_out(source: Path | None, target: Path) -> Release:
    """The release in that file, or the working tree as one."""
    if source is not None:
        return release.unpack(source, target)
    build()
    stage.lay_out(target)
    version, commit = release.current()
    return Release(version, commit, clock.to_wire(clock.now()), release.digest(target))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
