"""doctl, as a deployment needs it: connect to one namespace by its access key, deploy a folder to it.

It runs without our environment: the env file alone decides what a function is given. No secret stands in what we print.
"""

import os
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path

from ops.functions import ROOT

INSTALLED = Path(".local/bin")  # where ./doit doctl puts it
# What doctl and the deployer need of a process: programs, its own files, its account, a proxy. ENCRYPTION_KEY, for one,
# would be taken for the deployer's own.
_KEPT = ("PATH", "HOME", "LANG", "XDG_CONFIG_HOME", "DIGITALOCEAN_ACCESS_TOKEN", "HTTPS_PROXY", "https_proxy", "TMPDIR")


class DoctlFailed(Exception):
    """doctl is not there, or ended with an error; the text is safe to print."""


def connect(namespace: str, access_key: str | None) -> None:
    """Make the namespace the one that is deployed to; without a key by the account's token. Raises DoctlFailed."""
    by_key = ["--access-key", access_key] if access_key else []
    run(["serverless", "connect", namespace, *by_key], secret=access_key)


def deploy(folder: Path, env_file: Path) -> str:
    """Deploy a staged folder; what doctl said. Its project.yml names the namespace, which guards against any other.

    Raises DoctlFailed when anything of it failed: what came before stays deployed.
    """
    return run(["serverless", "deploy", str(folder), "--env", str(env_file)])


def run(words: Sequence[str], *, secret: str | None = None) -> str:
    """Run doctl and return its output. Raises DoctlFailed with the end of it, without the secret."""
    path = os.pathsep.join([str(ROOT / INSTALLED), os.environ.get("PATH", "")])
    program = shutil.which("doctl", path=path)
    if program is None:
        raise DoctlFailed("doctl is not installed: ./doit doctl")
    environment = {name: os.environ[name] for name in _KEPT if name in os.environ} | {"PATH": path}
    done = subprocess.run(
        [program, *words],
        env=environment,
        check=False,
        text=True,
        stdin=subprocess.DEVNULL,  # it never asks
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )
    said = done.stdout.replace(secret, "***") if secret else done.stdout
    if done.returncode:
        last = "\n".join(said.strip().splitlines()[-20:])
        raise DoctlFailed(f"doctl {words[0]} {words[1]} ended with {done.returncode}:\n{last}")
    return said
