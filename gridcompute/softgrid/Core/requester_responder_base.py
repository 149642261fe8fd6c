"""Requests between executors that wait for a response."""

from __future__ import annotations

from .transfer_base import TransferBase


class RequesterResponderBase(TransferBase):
    """Stands where requests and responses belong in the order of the classes."""
