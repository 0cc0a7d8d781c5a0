"""Why somebody is not let in."""

from vuer_rtc.protocol.codes import CloseCode


class Refused(Exception):
    """The connection is to be closed with this code; nothing else has happened."""

    def __init__(self, code: CloseCode) -> None:
        super().__init__(code.reason)
        self.code = code
