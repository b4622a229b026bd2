"""What was answered survives kill -9, and a restart is the same world."""

import itertools
import json
import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import IO

import pytest
import requests

from tests.local.sandbox.support import MINT, Caller, Json, wait_for

ROOT = Path(__file__).parents[3]
ALICE = "alice@example.com"


class Program:
    """`python -m local.sandbox` on a folder."""

    def __init__(self, folder: Path, *arguments: str) -> None:
        """Wait for its ready line."""
        self.process = launch("--port", "0", "--rpc-port", "0", "--data", str(folder), *arguments)
        assert self.process.stdout
        self.facts: Json = json.loads(self.process.stdout.readline())
        self.caller = Caller(self.facts)

    def kill(self, with_signal: signal.Signals = signal.SIGKILL) -> int:
        """End it, and return its exit code."""
        self.caller.close()
        self.process.send_signal(with_signal)
        code = self.process.wait(20)
        for stream in (self.process.stdout, self.process.stderr):
            _close(stream)
        return code


def _close(stream: IO[str] | None) -> None:
    if stream:
        stream.close()


def launch(*arguments: str) -> subprocess.Popen[str]:
    """The program, with pipes."""
    environment = os.environ | {"PYTHONPATH": f"{ROOT / 'lib'}{os.pathsep}{ROOT}"}
    command = [sys.executable, "-m", "local.sandbox", *arguments]
    return subprocess.Popen(
        command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


@pytest.fixture
def run(tmp_path: Path) -> Iterator[Callable[..., Program]]:
    """Start the program on the test's folder; none outlives the test."""
    programs: list[Program] = []

    def start(*arguments: str) -> Program:
        programs.append(Program(tmp_path / "data", *arguments))
        return programs[-1]

    yield start
    for program in programs:
        if program.process.poll() is None:
            program.kill()


def chain_of(program: Program) -> list[Json]:
    """All blocks, by the JSON-RPC port."""

    def ask(method: str, *params: object) -> Json:
        question = {"jsonrpc": "2.0", "id": 1, "method": method, "params": params}
        reply: Json = requests.post(program.facts["rpc_url"], json=question, timeout=10).json()
        return reply

    head = int(str(ask("eth_blockNumber")["result"]), 16)
    return [ask("eth_getBlockByNumber", hex(number), True)["result"] for number in range(head + 1)]


def test_a_killed_sandbox_comes_back_with_everything(run: Callable[..., Program]) -> None:
    """Keys, addresses, blocks with their hashes, balances, queued work, replies, clock and faults."""
    first = run()
    first.caller.fund(ALICE, "12.5")
    first.caller.tell("/faults", path=MINT, kind="reorg", delay_ms=0)
    first.caller.fund(ALICE, "3")
    first.caller.tell("/clock", advance_ms=1)
    first.caller.tell("/faults", path=MINT, kind="failed", times=2)
    queued = first.caller.mint(ALICE, "1", key="key")
    before, info = chain_of(first), first.caller.see("/info")
    first.kill()
    second = run()
    same = ("api_key", "api_secret", "webhook_sender_key", "token_address", "treasury_address")
    assert [second.facts[name] for name in same] == [first.facts[name] for name in same]
    assert chain_of(second) == before
    assert second.caller.balance(ALICE) == "12.5"
    assert second.caller.mint(ALICE, "1", key="key") == queued
    assert second.caller.see("/info")["now_ms"] >= info["now_ms"]
    assert second.caller.see("/faults")["pending"] == [{"path": MINT, "kind": "failed", "times": 1}]
    second.caller.tell("/clock", advance_ms=2000)
    assert second.caller.status(queued["transactionId"])["status"] == "FAILED"


@pytest.mark.parametrize("pause", [0.02, 0.05, 0.1])
def test_a_kill_under_load_loses_nothing_that_was_answered(run: Callable[..., Program], pause: float) -> None:
    """Each answered mint replays its own reply, and the balance counts every key exactly once."""
    first = run("--mine-after-ms", "0")
    answered: dict[str, Json] = {}
    sent: set[str] = set()
    numbers, enough = itertools.count(), threading.Event()

    def load() -> None:
        caller = Caller(first.facts)
        with suppress(requests.RequestException):
            while True:
                key = f"key-{next(numbers)}"
                sent.add(key)
                answered[key] = caller.mint(ALICE, "1", key=key)
                if len(answered) > 5:
                    enough.set()
        caller.close()

    threads = [threading.Thread(target=load) for _ in range(4)]
    for thread in threads:
        thread.start()
    assert enough.wait(20)
    threading.Event().wait(pause)
    first.kill()
    for thread in threads:
        thread.join()
    second = run("--mine-after-ms", "0")
    assert len(answered) <= int(second.caller.balance(ALICE)) <= len(sent)
    for key in sent:
        reply = second.caller.mint(ALICE, "1", key=key)
        assert reply == answered.get(key, reply)
        assert second.caller.status(reply["transactionId"])["status"] == "COMPLETED"
    assert int(second.caller.balance(ALICE)) == len(sent)


@pytest.mark.parametrize("ending", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_it_well(run: Callable[..., Program], ending: signal.Signals) -> None:
    """Exit code 0, even while a reply is held back."""
    program = run()
    program.caller.tell("/faults", path=MINT, kind="hold")
    other = Caller(program.facts)
    thread = threading.Thread(target=lambda: other.mint(ALICE))
    thread.start()
    wait_for(lambda: program.caller.see("/faults")["held"])
    assert program.kill(ending) == 0
    thread.join()
    other.close()


def test_a_taken_port_is_one_clear_line(tmp_path: Path) -> None:
    """Exit code 1 without a traceback, whichever of the two ports it is."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        for ports in (("--port", port, "--rpc-port", "0"), ("--port", "0", "--rpc-port", port)):
            process = launch(*ports, "--data", str(tmp_path))
            out, err = process.communicate(timeout=20)
            assert (process.returncode, out, len(err.splitlines())) == (1, "", 1)
            assert err.startswith("the sandbox cannot start: ")


def test_a_folder_serves_one_sandbox_at_a_time(run: Callable[..., Program], tmp_path: Path) -> None:
    """A second one on the same data would mine blocks of its own: it is refused."""
    run()
    process = launch("--port", "0", "--rpc-port", "0", "--data", str(tmp_path / "data"))
    _, err = process.communicate(timeout=20)
    assert process.returncode == 1
    assert "in use by another sandbox" in err
