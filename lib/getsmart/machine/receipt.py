"""The receipt of an airdrop: a Merkle root over its rows (RFC 6962's tree, SHA-256); docs/airdrop.md verifies one."""

from collections.abc import Iterable


def merkle_root(leaves: Iterable[bytes]) -> str:
    """The root in hexadecimal; a single row can later be proven to be among the leaves, at its place."""
    from pymerkle import InmemoryTree  # type: ignore[import-untyped]  # only who closes a batch needs it

    tree = InmemoryTree(algorithm="sha256")
    for leaf in leaves:
        tree.append_entry(leaf)
    root: bytes = tree.get_root()
    return root.hex()
