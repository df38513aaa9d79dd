"""Bots that take calls from a Patchbay gateway over plain HTTP: no public address, no WebRTC, no codec."""

from .attestation import Attestation, TicketError
from .bot import Bot, IncomingCall
from .call import AudioPacket, Call
from .errors import CallEnded, CallTaken, GatewayError, OfferExpired, PatchbayError
from .key import BotKey

__all__ = [
    "Attestation", "AudioPacket", "Bot", "BotKey", "Call", "CallEnded", "CallTaken", "GatewayError", "IncomingCall",
    "OfferExpired", "PatchbayError", "TicketError",
]
