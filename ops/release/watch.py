"""Is the new colour as good as the old one? A judgement on what the gateway has counted of both since a step began."""

from ops.gateway.environment import Promotion
from ops.gateway.runtime import Reading

_SLOW_SHARE = 0.9
_FEW_FAILURES = 2
_FASTEST_MS = 250
"""Up to here nobody is slow, whatever the other colour does."""


def problem(new: Reading, old: Reading, rules: Promotion) -> str | None:
    """Why the new colour must not have more calls, or any; None while all is well.

    `old` is what the other colour did meanwhile, or before when it has too few calls of its own to compare with.
    """
    return _absent(new) or _failing(new, old, rules) or _refusing(new, old, rules) or _slow(new, old, rules)


def _absent(new: Reading) -> str | None:
    return None if new.up == new.servers else f"{new.servers - new.up} of {new.servers} namespaces do not answer"


def _failing(new: Reading, old: Reading, rules: Promotion) -> str | None:
    """Failures are answers with 5xx and attempts that did not get through; a few prove nothing."""
    failures = new.failed + new.retried
    share, usual = _share(failures, new), _share(old.failed + old.retried, old)
    if failures <= _FEW_FAILURES or share <= max(rules.failed_share, 2 * usual):
        return None
    return f"{failures} of {new.calls + new.retried} calls failed ({share:.1%}), with the other colour {usual:.1%}"


def _refusing(new: Reading, old: Reading, rules: Promotion) -> str | None:
    if new.calls < rules.fewest_calls or old.calls < rules.fewest_calls:
        return None
    share, usual = new.refused / new.calls, old.refused / old.calls
    if share <= usual + rules.refused_share:
        return None
    return f"{share:.0%} of the answers were refusals, with the other colour {usual:.0%}"


def _slow(new: Reading, old: Reading, rules: Promotion) -> str | None:
    if new.calls < rules.fewest_calls or old.calls < rules.fewest_calls:
        return None
    slowest, usual = new.slowest(_SLOW_SHARE), old.slowest(_SLOW_SHARE)
    if slowest <= max(_FASTEST_MS, rules.slower_times * usual):
        return None
    return f"{_SLOW_SHARE:.0%} of the answers took up to {slowest} ms, with the other colour up to {usual} ms"


def _share(failures: int, reading: Reading) -> float:
    attempts = reading.calls + reading.retried
    return failures / attempts if attempts else 0.0
