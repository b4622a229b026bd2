"""Reads a second over HTTP: the gateway, the container, and an Express + Mongoose app that sends the same command.

One process each, 8 connections that stay open, wrk as the caller, taken in turn on one database. The Node app is warmed
up longer, as its compiler wants it.
"""

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

from local import processes
from local.bench.measure import Row, Samples, Section, ratios
from local.bench.stage import Stage
from ops.functions import ROOT

_EXPRESS = Path(__file__).with_name("express")
_CONNECTIONS = 8
_WARM_SECONDS = {"express": 10}
_OTHERS_WARM_SECONDS = 3


class Missing(Exception):
    """A tool that this part needs is not installed; the text says which."""


def run(stage: Stage, folder: Path, rounds: int, seconds: int, progress: Callable[[], object]) -> Section:
    """Measure each in turn. Raises Missing."""
    for tool in ("wrk", "node", "npm"):
        if shutil.which(tool) is None:
            raise Missing(f"{tool} is not installed")
    wallet = stage.wallet(2)
    path = f"/v1/wallets/balance?wallet_id={wallet}"
    rates: Samples = {}
    delays: Samples = {}
    with ExitStack() as ending:
        urls = _start(folder, ending)
        for name, url in urls.items():
            _wrk(url + path, stage.token, _WARM_SECONDS.get(name, _OTHERS_WARM_SECONDS))
            rates[name], delays[name] = [], []
        for _ in range(rounds):
            for name, url in urls.items():
                rate, delay = _wrk(url + path, stage.token, seconds)
                rates[name].append(rate)
                delays[name].append(delay)
                progress()
    rows = []
    for name, must, aim in (("container", 0.85, 1.3), ("gateway", None, None), ("express", None, None)):
        ratio, spread = ratios(rates[name], rates["express"])
        middle, delay = sorted(rates[name])[rounds // 2], sorted(delays[name])[rounds // 2]
        said = f"{middle:,.0f}/s, p99 {delay:.0f} ms"
        rows.append(Row(f"reads a second, {name}", said, ratio, spread, "x Express", must, aim, more_is_better=True))
    return Section("Throughput", rows)


def _start(folder: Path, ending: ExitStack) -> dict[str, str]:
    here = {**os.environ, "PYTHONPATH": f"{ROOT / 'lib'}:{ROOT}"}
    serving = [sys.executable, "-m", "serving", "--port", "0", "--threads", "16"]
    app = folder / "express"
    shutil.copytree(_EXPRESS, app, ignore=shutil.ignore_patterns("node_modules"))
    subprocess.run(["/usr/bin/env", "npm", "ci", "--silent"], cwd=app, check=True, stdout=subprocess.DEVNULL)
    commands = {
        "container": [*serving, "--workers", "1"],
        "gateway": serving,
        "express": ["node", str(app / "app.mjs")],
    }
    urls = {}
    for name, command in commands.items():
        child = processes.start(name, command, log=folder / f"{name}.log", environment=here, announces=True)
        ending.callback(child.stop)
        announced = json.loads(child.announcement(30))
        urls[name] = announced.get("gateway") or announced["url"]
    return urls


def _wrk(url: str, token: str, seconds: int) -> tuple[float, float]:
    """Requests a second, and the 99th percentile in milliseconds. Raises RuntimeError when any failed."""
    words = [
        "wrk",
        "-t1",
        f"-c{_CONNECTIONS}",
        f"-d{seconds}s",
        "--latency",
        "-H",
        f"Authorization: Bearer {token}",
        url,
    ]
    said = subprocess.run(words, capture_output=True, text=True, check=True).stdout
    if "Non-2xx" in said or "Socket errors" in said:
        raise RuntimeError(f"calls failed: {said}")
    rate = re.search(r"Requests/sec:\s+([\d.]+)", said)
    delay = re.search(r"99%\s+([\d.]+)(us|ms|s)\b", said)
    if rate is None or delay is None:
        raise RuntimeError(f"wrk prints something else: {said}")
    return float(rate[1]), float(delay[1]) * {"us": 0.001, "ms": 1.0, "s": 1000.0}[delay[2]]
