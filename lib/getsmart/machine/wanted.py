"""The Transfer that a transaction must cause: what its evidence is held against.

On its own, so that who only cancels loads nothing of what asks MetaKeep and the chain.
"""

from getsmart import config
from getsmart.metakeep.protocol import Transfer
from getsmart.models import BURNED, ISSUANCE, TREASURY, Party, TransactionRow
from getsmart.mongo import to_units

_ZERO_ADDRESS = "0x" + "0" * 40


def expected(row: TransactionRow) -> Transfer:
    """Contract, parties and amount, addresses in lower case."""
    contract = config.read(config.TokenSettings).contract_address.lower()
    return Transfer(contract, _address(row["origin"]), _address(row["target"]), to_units(row["amount"]))


def _address(party: Party) -> str:
    if party["account"] in (ISSUANCE, BURNED):
        return _ZERO_ADDRESS
    if party["account"] == TREASURY:
        return config.read(config.TokenSettings).treasury_address.lower()
    return party["address"].lower()
