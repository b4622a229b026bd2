"""A stand-in for the wallet provider MetaKeep: its REST API over a real token contract on an in-process chain."""

from local.sandbox.server import Sandbox

__all__ = ["Sandbox"]
