"""The key of the backups is changed while backups go on: each of them opens with a key that somebody has."""

import io
from pathlib import Path

import pytest

from ops.backup.errors import Refused
from ops.backup.making import Order, make
from ops.backup.manifest import Receipt
from ops.backup.restoring import Target, restore
from ops.backup.sealed import new_identity
from ops.deployer_template import read_env
from ops.rotate import __main__ as rotate
from tests.ops.backup.conftest import Keeper, quiet


def test_each_backup_of_a_rotation_opens_with_whom_it_is_for(
    keeper: Keeper, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Before: the old key; meanwhile: either; after: the new one, and the old one no more."""
    file = tmp_path / "env"
    file.write_text(f"BACKUP_RECIPIENTS={keeper.recipient}\n")
    new, recipient = new_identity()
    source = keeper.database()
    source["some"].insert_many([{"_id": number} for number in range(100)])

    def rotated(step: str, value: str = "") -> None:
        monkeypatch.setattr("sys.stdin", io.StringIO(f"{value}\n"))
        assert rotate.main(["backup", step, "--env", str(file), "--wait", "0"]) == 0

    def backed_up() -> Receipt:
        return make(
            Order(keeper.uri, source, read_env(file)["BACKUP_RECIPIENTS"].split(","), "test"), keeper.vault, quiet
        )

    def opens(receipt: Receipt, identity: str) -> bool:
        target = keeper.database()
        try:
            restore(keeper.vault, receipt.file, [identity], Target(keeper.uri, target.name))
        except Refused:
            assert target.list_collection_names() == []
            return False
        return target["some"].count_documents({}) == 100

    before = backed_up()
    rotated("add", recipient)
    meanwhile = backed_up()
    rotated("drop")
    after = backed_up()
    found = [[opens(one, identity) for identity in (keeper.identity, new)] for one in (before, meanwhile, after)]
    assert found == [[True, False], [True, True], [False, True]]
