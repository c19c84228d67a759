"""The operator interface."""

from forebay.front.larpix.operator import Operator

__all__ = ["Operator"]
