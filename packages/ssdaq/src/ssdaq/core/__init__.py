"""Subscribers and receivers of SSDAQ 0.9 from which others are made."""

from forebay.front.ssdaq.async_subscribers import AsyncSubscriber
from forebay.front.ssdaq.subscribers import BasicSubscriber
from forebay.service.receiver_server import ReceiverServer

__all__ = ["AsyncSubscriber", "BasicSubscriber", "ReceiverServer"]
