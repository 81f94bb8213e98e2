"""Accounting: which messages are missing, asking for them once more, and telling what is not to be had."""

from .account import read_account
from .delivery import Delivery, Group
from .repairer import PATIENCE, Patience

__all__ = ["PATIENCE", "Delivery", "Group", "Patience", "read_account"]
