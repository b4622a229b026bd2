# pragma version 0.4.3
# pragma optimize gas
# pragma evm-version cancun
"""
@title The GetSmart Token for local use, and any other coin the sandbox is asked to create
@custom:contract-name gets
@license GNU Affero General Public License v3.0 only
@notice A thin shell around snekmate's ERC-20 module: the genesis supply goes to the owner, who is the only minter,
        and the owner can lock part of a holder's balance, as the wallet provider's own coins allow. Locked tokens
        count in the balance and can neither be transferred nor burned.
"""

from snekmate.auth import ownable
from snekmate.tokens import erc20

initializes: ownable
initializes: erc20[ownable := ownable]

exports: (
    erc20.name,
    erc20.symbol,
    erc20.decimals,
    erc20.totalSupply,
    erc20.balanceOf,
    erc20.allowance,
    erc20.approve,
    erc20.permit,
    erc20.nonces,
    erc20.DOMAIN_SEPARATOR,
    erc20.eip712Domain,
    erc20.mint,
    erc20.is_minter,
    erc20.set_minter,
    erc20.owner,
)

event LockedChanged:
    account: indexed(address)
    locked: uint256

# How much of an account's balance may not move.
locked: public(HashMap[address, uint256])


@deploy
def __init__(name: String[25], symbol: String[5], owner: address, genesis: uint256):
    """
    @dev The deployer is a gas account of no further rights: owner and minter is `owner`, who receives `genesis`.
    """
    ownable.__init__()
    erc20.__init__(name, symbol, 18, name, "1")
    erc20.is_minter[msg.sender] = False
    ownable._transfer_ownership(owner)
    erc20.is_minter[owner] = True
    log erc20.RoleMinterChanged(minter=owner, status=True)
    if genesis != 0:
        erc20._mint(owner, genesis)


@external
def transfer(to: address, amount: uint256) -> bool:
    self._require_unlocked(msg.sender, amount)
    erc20._transfer(msg.sender, to, amount)
    return True


@external
def transferFrom(owner: address, to: address, amount: uint256) -> bool:
    self._require_unlocked(owner, amount)
    erc20._spend_allowance(owner, msg.sender, amount)
    erc20._transfer(owner, to, amount)
    return True


@external
def burn(amount: uint256):
    self._require_unlocked(msg.sender, amount)
    erc20._burn(msg.sender, amount)


@external
def mint_locked(to: address, amount: uint256):
    """
    @dev Mints and locks in one step.
    """
    ownable._check_owner()
    erc20._mint(to, amount)
    self._set_locked(to, self.locked[to] + amount)


@external
def lock(account: address, amount: uint256):
    ownable._check_owner()
    self._require_unlocked(account, amount)
    self._set_locked(account, self.locked[account] + amount)


@external
def unlock(account: address, amount: uint256):
    ownable._check_owner()
    assert self.locked[account] >= amount, "gets: amount exceeds locked balance"
    self._set_locked(account, self.locked[account] - amount)


@internal
def _set_locked(account: address, amount: uint256):
    self.locked[account] = amount
    log LockedChanged(account=account, locked=amount)


@internal
@view
def _require_unlocked(account: address, amount: uint256):
    # An amount beyond the whole balance is left to the module, which has its own words for it.
    locked: uint256 = self.locked[account]
    if locked != 0:
        assert erc20.balanceOf[account] - locked >= amount, "gets: amount exceeds unlocked balance"
