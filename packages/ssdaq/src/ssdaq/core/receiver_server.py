"""What receivers of one's own are derived from."""

from forebay.service.receiver_server import ReceiverServer

__all__ = ["ReceiverServer"]
