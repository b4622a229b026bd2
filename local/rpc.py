"""Ethereum JSON-RPC over HTTP POST for the in-process chain: what wallets and indexers read, nothing that writes."""

import json
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any

from werkzeug.wrappers import Request, Response

from local.chain import ZERO_ADDRESS, Block, CallReverted, Chain
from local.rpc_values import (
    InvalidParams,
    LogFilter,
    block_view,
    hex_bytes,
    hex_number,
    log_view,
    read_address,
    read_block,
    read_bytes,
    read_filter,
    receipt_view,
    transaction_view,
)

PARSE_ERROR, INVALID_REQUEST, METHOD_NOT_FOUND, INVALID_PARAMS = -32700, -32600, -32601, -32602
REVERTED = 3
CLIENT_VERSION = "getsmart-local-chain/1"
OpenChain = Callable[[], AbstractContextManager[Chain]]


def _call(chain: Chain, call: Any, block: Any = "latest") -> str:
    if not isinstance(call, dict):
        raise InvalidParams("the call must be an object")
    data = read_bytes(call.get("data", call.get("input", "0x")))
    sender = read_address(call.get("from", ZERO_ADDRESS))
    number = _number(chain, block)
    return hex_bytes(chain.ask(read_address(call.get("to")), data, sender=sender, number=number))


def _number(chain: Chain, block: Any) -> int:
    found = read_block(chain, block)
    if found is None:
        raise InvalidParams("there is no such block")
    return found.number


def _logs(chain: Chain, criteria: Any) -> list[dict[str, Any]]:
    wanted: LogFilter = read_filter(chain, criteria)
    views = []
    for block in chain.blocks[wanted.first : wanted.last + 1]:
        views += [log_view(block, index) for index, log in enumerate(block.logs) if wanted.matches(log)]
    return views


def _block(chain: Chain, block: Block | None, is_full: Any) -> dict[str, Any] | None:
    if not isinstance(is_full, bool):
        raise InvalidParams("the second parameter must be true or false")
    return None if block is None else block_view(chain.chain_id, block, is_full=is_full)


def _receipt(chain: Chain, digest: Any) -> dict[str, Any] | None:
    block = chain.block_of(read_bytes(digest, size=32))
    return None if block is None else receipt_view(block)


def _transaction(chain: Chain, digest: Any) -> dict[str, Any] | None:
    block = chain.block_of(read_bytes(digest, size=32))
    return None if block is None else transaction_view(chain.chain_id, block)


def _balance(chain: Chain, address: Any, block: Any = "latest") -> str:
    """Nobody pays for gas here, so nobody holds the native coin."""
    read_address(address)
    _number(chain, block)
    return hex_number(0)


def _code(chain: Chain, address: Any, block: Any = "latest") -> str:
    return hex_bytes(chain.code(read_address(address), _number(chain, block)))


def _nonce(chain: Chain, address: Any, block: Any = "latest") -> str:
    sender, number = read_address(address), _number(chain, block)
    mined = (item.call for item in chain.blocks[: number + 1] if item.call.tx_hash is not None)
    return hex_number(sum(call.sender == sender for call in mined))


METHODS: dict[str, Callable[..., Any]] = {
    "eth_chainId": lambda chain: hex_number(chain.chain_id),
    "net_version": lambda chain: str(chain.chain_id),
    "web3_clientVersion": lambda _: CLIENT_VERSION,
    "eth_blockNumber": lambda chain: hex_number(chain.head.number),
    "eth_call": _call,
    "eth_getLogs": _logs,
    "eth_getTransactionReceipt": _receipt,
    "eth_getTransactionByHash": _transaction,
    "eth_getBlockByNumber": lambda chain, tag, full: _block(chain, read_block(chain, tag), full),
    "eth_getBlockByHash": lambda chain, digest, full: _block(
        chain, chain.block_by_hash(read_bytes(digest, size=32)), full
    ),
    "eth_getBalance": _balance,
    "eth_getCode": _code,
    "eth_getTransactionCount": _nonce,
}


class RpcError(Exception):
    """A JSON-RPC error object: code, message and, for a revert, what the call returned."""

    def __init__(self, code: int, message: str, data: str | None = None) -> None:
        """See https://www.jsonrpc.org/specification#error_object; 3 is a revert."""
        super().__init__(message)
        self.view = {"code": code, "message": message} | ({} if data is None else {"data": data})


def _positional(method: Callable[..., Any], chain: Chain, params: list[Any]) -> Any:
    """Call `method`, telling a wrong number of parameters from an error inside it."""
    wanted = method.__code__.co_argcount - 1
    optional = len(method.__defaults__ or ())
    if not wanted - optional <= len(params) <= wanted:
        raise InvalidParams(f"{wanted} parameters are expected")
    return method(chain, *params)


def _execute(chain: Chain, request: Any) -> Any:
    if not isinstance(request, dict) or request.get("jsonrpc") != "2.0" or not isinstance(request.get("method"), str):
        raise RpcError(INVALID_REQUEST, "not a JSON-RPC 2.0 request")
    method = METHODS.get(request["method"])
    if method is None:
        raise RpcError(METHOD_NOT_FOUND, f"the method {request['method']} does not exist")
    params = request.get("params", [])
    if not isinstance(params, list):
        raise RpcError(INVALID_PARAMS, "the parameters must be an array")
    try:
        return _positional(method, chain, params)
    except InvalidParams as error:
        raise RpcError(INVALID_PARAMS, str(error)) from None
    except CallReverted as reverted:
        raise RpcError(REVERTED, f"execution reverted: {reverted}", hex_bytes(reverted.data)) from None


def _reply(chain: Chain, request: Any) -> dict[str, Any]:
    identity = request.get("id") if isinstance(request, dict) else None
    try:
        return {"jsonrpc": "2.0", "id": identity, "result": _execute(chain, request)}
    except RpcError as error:
        return {"jsonrpc": "2.0", "id": identity, "error": error.view}


def _is_notification(request: Any) -> bool:
    return isinstance(request, dict) and "id" not in request and isinstance(request.get("method"), str)


def _error(code: int, message: str) -> dict[str, Any]:
    return {"jsonrpc": "2.0", "id": None, "error": {"code": code, "message": message}}


def answer(open_chain: OpenChain, body: bytes) -> Any:
    """The reply to a body, single or batch, as a JSON value; None when nothing is to be said (notifications)."""
    try:
        document = json.loads(body)
    except ValueError:
        return _error(PARSE_ERROR, "the body is not JSON")
    requests = document if isinstance(document, list) else [document]
    if not requests:
        return _error(INVALID_REQUEST, "an empty batch")
    with open_chain() as chain:
        replies = [_reply(chain, request) for request in requests if not _is_notification(request)]
    if isinstance(document, list):
        return replies or None
    return replies[0] if replies else None


def make_app(open_chain: OpenChain) -> Callable[..., Any]:
    """A WSGI application; `open_chain` gives the chain for the time of one request, alone."""

    @Request.application
    def app(request: Request) -> Response:
        body = request.get_data()
        if request.method != "POST":
            return Response("POST a JSON-RPC 2.0 request\n", 405, {"Allow": "POST"})
        reply = answer(open_chain, body)
        if reply is None:
            return Response(status=204)
        return Response(json.dumps(reply), content_type="application/json")

    return app
