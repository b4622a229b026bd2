"""Which of the kept backups may be relied on: one database's, and none that has lost half of it since the one before.

What is counted only ever grows: wallets, transactions and entries are never deleted.
"""

from collections.abc import Sequence
from typing import NamedTuple

from getsmart import config
from getsmart.errors import Misconfigured
from ops.backup.errors import BackupFailed
from ops.backup.manifest import Receipt
from ops.backup.vault import Vault

_LASTING = ("wallets", "transactions", "entries")


class Kept(NamedTuple):
    """The backups of one database, the newest first: sound ones, and those with less than half of what was there."""

    sound: list[Receipt]
    collapsed: list[Receipt]


def lasting(receipt: Receipt) -> int:
    """How many documents it has of those that are never deleted."""
    parts = receipt.manifest.collections
    return sum(parts[name].documents for name in _LASTING if name in parts)


def judge(receipts: Sequence[Receipt]) -> Kept:
    """Compare each with the last sound one before it; one that was meant to be smaller counts as sound."""
    sound: list[Receipt] = []
    collapsed: list[Receipt] = []
    for receipt in sorted(receipts, key=lambda one: one.manifest.point):
        is_less = bool(sound) and lasting(receipt) * 2 < lasting(sound[-1])
        (collapsed if is_less and not receipt.is_smaller else sound).append(receipt)
    return Kept(sound[::-1], collapsed[::-1])


def of_database(receipts: Sequence[Receipt], name: str) -> list[Receipt]:
    """Those of one database, in their order."""
    return [one for one in receipts if one.manifest.database == name]


def refuse_collapsed(kept: Kept) -> None:
    """Raise BackupFailed where the newest has collapsed: what it shows is not what anybody wants back."""
    if kept.collapsed and kept.collapsed[0].manifest.point > kept.sound[0].manifest.point:
        newest, before = kept.collapsed[0], kept.sound[0]
        raise BackupFailed(
            f"{newest.file} has {lasting(newest):,} wallets, transactions and entries, "
            f"{before.file} before it {lasting(before):,}: less than half"
        )


def newest(vault: Vault) -> str:
    """The file of the newest backup. Raises BackupFailed where it is not plain which one that is."""
    receipts, unreadable = vault.looked()
    if not receipts:
        raise BackupFailed(f"there is no backup in {vault.place}")
    names = sorted({one.manifest.database for one in receipts})
    name = names[0] if len(names) == 1 else _configured()
    if name not in names:
        raise BackupFailed(f"{vault.place} has backups of {', '.join(names)}: name the file")
    found = of_database(receipts, name)
    newer = [file for file in unreadable if file.startswith(f"{name}-") and file > found[0].file]
    if newer:
        raise BackupFailed(f"what stands beside the newest, {newer[-1]}, is no receipt: name the file")
    try:
        refuse_collapsed(judge(found))
    except BackupFailed as collapsed:
        raise BackupFailed(f"{collapsed}: name the file") from None
    return found[0].file


def _configured() -> str | None:
    try:
        return config.read(config.DatabaseSettings).name
    except Misconfigured:
        return None
