"""Subscribers of SSDAQ 0.9 from which others are made."""

from forebay.front.ssdaq.subscribers import AsyncSubscriber, BasicSubscriber

__all__ = ["AsyncSubscriber", "BasicSubscriber"]
