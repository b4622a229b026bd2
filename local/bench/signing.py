"""Our signatures against `openssl speed` in the same run."""

import re
import subprocess
import time
from collections.abc import Callable

from local.bench.measure import Row, Samples, Section, ratios

_SECONDS = 1.0
_MESSAGE = b'api.metakeep.xyz\nPOST\n/v2/app/coin/mint\nX-Timestamp:1700000000000\n{"amount":"1000"}'


def run(rounds: int, progress: Callable[[], object]) -> Section:
    """Signatures and verifications a second."""
    from getsmart.metakeep import signing

    key = signing.SigningKey(0x1DE5A1F)
    signature = key.sign(_MESSAGE)
    rates: Samples = {"sign": [], "verify": [], "openssl sign": [], "openssl verify": []}
    for _ in range(rounds):
        signed, verified = _openssl()
        rates["openssl sign"].append(signed)
        rates["openssl verify"].append(verified)
        rates["sign"].append(_rate(lambda: key.sign(_MESSAGE)))
        rates["verify"].append(_rate(lambda: signing.verify(key.public_key, _MESSAGE, signature)))
        progress()
    rows = []
    for name in ("sign", "verify"):
        ratio, spread = ratios(rates[name], rates[f"openssl {name}"])
        rows.append(
            Row(f"{name} against openssl", f"{rates[name][0]:,.0f}/s", ratio, spread, "x openssl", more_is_better=True)
        )
    return Section("Signing", rows)


def _openssl() -> tuple[float, float]:
    done = subprocess.run(
        ["/usr/bin/env", "openssl", "speed", "-seconds", "1", "ecdsap256"], capture_output=True, text=True, check=True
    )
    found = re.search(r"nistp256\)\s+\S+\s+\S+\s+([\d.]+)\s+([\d.]+)", done.stdout)
    if found is None:
        raise RuntimeError("openssl speed prints another table than is known here")
    return float(found[1]), float(found[2])


def _rate(action: Callable[[], object]) -> float:
    made, started = 0, time.perf_counter()
    while (taken := time.perf_counter() - started) < _SECONDS:
        action()
        made += 1
    return made / taken
