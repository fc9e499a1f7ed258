"""Errors of the centre. A message reads: where: expected X, got Y; what to do."""

from __future__ import annotations


class CentralError(Exception):
    """Whatever goes wrong at the centre and is understood."""


class ContractError(CentralError):
    """A message is not what the contract says. `reason` is one of few words, to be counted by; the text says more."""

    def __init__(self, reason: str, text: str) -> None:
        self.reason = reason
        super().__init__(text)


class BrokerError(CentralError):
    """The broker cannot be started."""


class DatabaseError(CentralError):
    """The database cannot be started or reached."""
