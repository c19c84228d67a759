"""How receivers of one's own tell how they are."""

from forebay.service.receiver_server import ReceiverMonSender

__all__ = ["ReceiverMonSender"]
