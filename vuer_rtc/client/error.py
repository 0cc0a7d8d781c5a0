"""What a program may have to catch of a room.

RoomError
    RoomClosed      the server does not want this client back, or the program has closed the room
    CommitRefused   commits that the server did not take

and, of an edit, ValueError
    InvalidMessage  an operation or value that no server would take
"""

from vuer_rtc.crdt.plain import InvalidMessage

from .answer import Refusal

TEXTS_MAX = 5
"""Different ones that stand in one error."""


class RoomError(RuntimeError):
    """Something about the room went wrong."""


class RoomClosed(RoomError):
    """The room is closed for this client; `code` is the close code, None when there was none: the program closed it, or
    the address leads to no room."""

    def __init__(self, code: int | None, reason: str) -> None:
        super().__init__(f"{reason} ({code})" if code is not None else reason)
        self.code = code


class CommitRefused(RoomError):
    """The server refused commits; they have been taken back.  `refusals` has all of them."""

    def __init__(self, refusals: list[Refusal]) -> None:
        texts = list(dict.fromkeys(refusal.text for refusal in refusals))
        more = [f"{len(refusals)} in all"] if len(refusals) > len(texts[:TEXTS_MAX]) else []
        super().__init__("; ".join([*texts[:TEXTS_MAX], *more]))
        self.refusals = refusals


__all__ = ["CommitRefused", "InvalidMessage", "RoomClosed", "RoomError"]
