"""What can go wrong, by who can do something about it."""

from __future__ import annotations

import json


class PatchbayError(Exception):
    """Anything that this package raises of its own."""


class GatewayError(PatchbayError):
    """The gateway refused: ``status`` is HTTP's, ``code`` the gateway's own (``bot_not_found``)."""

    def __init__(self, status: int, code: str, message: str, retry_after_s: float | None = None) -> None:
        super().__init__(f"{status} {code}: {message}")
        self.status, self.code, self.retry_after_s = status, code, retry_after_s

    @classmethod
    def of(cls, status: int, headers: dict[str, str], body: bytes) -> GatewayError:
        """The error that an answer tells, whatever its body is."""
        try:
            told = json.loads(body)["error"]
            code, message = str(told.get("code") or told.get("type")), str(told.get("message"))
        except (ValueError, KeyError, TypeError, AttributeError):
            code, message = "unknown", body[:200].decode(errors="replace")
        try:
            retry_after_s = float(headers["retry-after"])
        except (KeyError, ValueError):
            retry_after_s = None
        which = {"call_taken": CallTaken, "offer_expired": OfferExpired}.get(code, cls)
        return which(status, code, message, retry_after_s)


class CallTaken(GatewayError):
    """Another instance of this bot was quicker, or was given the call."""


class OfferExpired(GatewayError):
    """The call was accepted too late: an offer stands for 5 s, or until the caller gives up."""


class CallEnded(PatchbayError):
    """The call is over: nothing can be sent any more."""
