"""A stand-in for doctl: takes its words, and drives the public deployer against the stand-in of the platform's API.

It is put on PATH under the name doctl. Beside it, doctl.json says where the API hosts are, which access key opens which
namespace, and where its calls are written down: words, the names of its variables, and the project.yml it was given.
"""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

HERE = Path(sys.argv[0]).resolve().parent
SETTINGS = json.loads((HERE / "doctl.json").read_text())


def main(words: list[str]) -> int:
    """Do what doctl would; exit 1 with a line on stderr when it would refuse."""
    call = {"words": words, "variables": sorted(os.environ)}
    try:
        known = {"connect": connect, "deploy": deploy, "install": install, "namespaces": listen, "init": listen}
        return {**known, "create": create}[words[1]](words[2:], call)
    finally:
        with Path(SETTINGS["calls"]).open("a") as file:
            file.write(json.dumps(call) + "\n")


def install(_words: list[str], _call: dict) -> int:
    """`doctl serverless install`: it needs the account's token, but for the making of an image."""
    if "DOCKER_SANDBOX_INSTALL" not in os.environ and not os.environ.get("DIGITALOCEAN_ACCESS_TOKEN"):
        return refuse(
            "Unable to initialize DigitalOcean API client: access token is required. (hint: run 'doctl auth init')"
        )
    sys.stdout.write("Downloading...done\n")
    return 0


def listen(_words: list[str], _call: dict) -> int:
    """`doctl auth init`, `doctl serverless namespaces create`: written down, and no more."""
    return 0


def create(words: list[str], call: dict) -> int:
    """`doctl apps create --spec -`: the app's id and address, as `--format ID,DefaultIngress` shows them."""
    assert words[:2] == ["--spec", "-"]
    call["spec"] = sys.stdin.read()
    sys.stdout.write("f81d4fae-7dec-11d0-a765-00a0c91e6bf6    https://getsmart-abcde.ondigitalocean.app\n")
    return 0


def connect(words: list[str], _call: dict) -> int:
    """`doctl serverless connect NAMESPACE [--access-key KEY]`; without a key by the account's token."""
    namespace, *by_key = words
    known = SETTINGS["namespaces"].get(namespace)
    key = by_key[1] if by_key[:1] == ["--access-key"] else None
    if known is None or (
        key != known["key"] and (key or os.environ.get("DIGITALOCEAN_ACCESS_TOKEN") != known["token"])
    ):
        return refuse(f"unable to connect to {namespace} with {key}")
    (HERE / "connected").write_text(namespace)
    sys.stdout.write(f"Connected to functions namespace '{namespace}'\n")
    return 0


def deploy(words: list[str], call: dict) -> int:
    """`doctl serverless deploy FOLDER --env FILE`: the real deployer does it."""
    folder, option, env_file = words
    assert option == "--env"
    call["project"] = (Path(folder) / "project.yml").read_text()
    call["env"] = Path(env_file).read_text()
    call["env_mode"] = oct(Path(env_file).stat().st_mode & 0o777)
    namespace = (HERE / "connected").read_text()
    # What 5.0.19 does; the public deployer is given its credentials, and asks for none.
    target = re.search(r"^targetNamespace: (.*)$", call["project"], re.MULTILINE)
    if target and target[1] != namespace:
        return refuse(f"No credentials found for namespace '{target[1]}' on any API host")
    if SETTINGS["deployer"] is None:
        return 0
    known = SETTINGS["namespaces"][namespace]
    job = {"project": folder, "env": env_file, "apihost": known["host"], "auth": known["auth"], "namespace": namespace}
    path = f"{SETTINGS['python']}:{os.environ['PATH']}"
    variables = {"PATH": path, "HOME": str(HERE), "https_proxy": known["host"], "DO_API_KEY": known["token"]}
    node = ["node", SETTINGS["deployer"]]
    done = subprocess.run(node, input=json.dumps(job), env=variables, capture_output=True, text=True, check=False)
    outcome = json.loads(done.stdout.splitlines()[-1]) if done.returncode == 0 else {"failures": [done.stderr]}
    sys.stdout.writelines(f"  - {name}\n" for name in sorted(one["name"] for one in outcome.get("successes", [])))
    return refuse("\n".join(outcome["failures"])) if outcome["failures"] else 0


def refuse(why: str) -> int:
    """What doctl says, and its exit code."""
    sys.stderr.write(f"Error: {why}\n")
    return 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
