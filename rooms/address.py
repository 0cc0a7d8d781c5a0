"""What the handshake of a WebSocket asks for: `/ws/rooms/<slug>/?client=<id>[&format=…][&naming=…][&v=2…]`."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, TypeVar
from urllib.parse import parse_qs

from rooms.models import ADDRESS_CHARS_MAX, USER_AGENT_CHARS_MAX
from rooms.refusal import Refused
from vuer_rtc.crdt.message import INTEGER_MAX, SERVER_CLIENT
from vuer_rtc.protocol.codes import CloseCode
from vuer_rtc.protocol.limit import Limits
from vuer_rtc.protocol.wire import Dialect, Edition, Feature, Framing, Naming

SUBPROTOCOL = "vuer-rtc"
"""What the server agrees to speak, with who offers it."""
TOKEN_SUBPROTOCOL = "vuer-rtc.token."
"""A subprotocol that begins so carries a token: browsers can set no other header of a handshake."""

Scope = Mapping[str, Any]
Choice = TypeVar("Choice", Framing, Naming, Edition)


@dataclass(frozen=True, slots=True)
class Address:
    """Who wants to join what, and how they want to be written to."""

    slug: str
    client: str
    framing: Framing | None
    """None: as the client's first frame comes."""
    naming: Naming
    remote_address: str
    user_agent: str
    edition: Edition = Edition.PUBLISHED
    features: frozenset[Feature] = field(default_factory=frozenset)
    """Those asked for that there are; none for a published client."""
    since: int | None = None
    """The sequence up to which a native client holds everything; None: it begins anew."""
    at: str | None = None
    """Id of the message that it holds at that sequence; None: it does not say."""
    after: float = 0.0
    """When the client's connection before this one began, by the clock of the process that it was at."""
    token: str | None = field(default=None, repr=False)
    """Room token; kept out of logs."""

    @property
    def dialect(self) -> Dialect:
        """How the first messages are written (rule F5)."""
        return Dialect(self.framing or Framing.MSGPACK, self.naming, self.edition)

    @property
    def transport(self) -> str:
        """For people, in the session's row."""
        native = ["native"] if self.edition is Edition.NATIVE else []
        framing = [self.framing.value] if self.framing is not None else []
        return ", ".join(["websocket", *framing, *native])


def read_address(scope: Scope) -> Address:
    """What an ASGI scope asks for; whether there is such a room is another question.

    Raises: Refused `bad-client` without a usable client id, `protocol` for a format that does not exist.
    """
    try:
        query = parse_qs(scope["query_string"].decode("ascii"), errors="strict", max_num_fields=20)
    except ValueError:
        raise Refused(CloseCode.BAD_CLIENT) from None
    given = {name: values[-1] for name, values in query.items()}
    edition = _choice(Edition, given.get("v")) or Edition.PUBLISHED
    is_native = edition is Edition.NATIVE
    return Address(
        slug=scope["url_route"]["kwargs"]["slug"],
        client=_client(given.get("client", "")),
        framing=_choice(Framing, given.get("format")),
        naming=_choice(Naming, given.get("naming")) or Naming.COMPRESSED,
        remote_address=str((scope.get("client") or [""])[0])[:ADDRESS_CHARS_MAX],
        user_agent=header_of(scope, b"user-agent")[:USER_AGENT_CHARS_MAX],
        edition=edition,
        features=_features(given.get("features", "")) if is_native else frozenset(),
        since=_sequence(given.get("since")) if is_native else None,
        at=given.get("at"),
        after=_instant(given.get("after")) if is_native else 0.0,
        token=_token(scope, given.get("token")),
    )


def _client(text: str) -> str:
    if not is_client_id(text):
        raise Refused(CloseCode.BAD_CLIENT)
    return text


def is_client_id(text: str) -> bool:
    """True for what a client may call itself."""
    is_usable = text.isprintable() and not text.startswith(SERVER_CLIENT[0])
    return is_usable and 0 < len(text) <= Limits().client_id_chars_max


def _choice(kind: type[Choice], text: str | None) -> Choice | None:
    try:
        return kind(text) if text is not None else None
    except ValueError:
        raise Refused(CloseCode.PROTOCOL) from None


def _features(text: str) -> frozenset[Feature]:
    """Those of a comma-separated list that there are: what is granted shows in the welcome."""
    return frozenset(feature for feature in Feature if feature in text.split(","))


def _sequence(text: str | None) -> int | None:
    if text is None:
        return None
    if not (text.isascii() and text.isdigit() and len(text) < 17 and int(text) <= INTEGER_MAX):
        raise Refused(CloseCode.PROTOCOL)
    return int(text)


def _instant(text: str | None) -> float:
    try:
        return float(text or 0)
    except ValueError:
        raise Refused(CloseCode.PROTOCOL) from None


def _token(scope: Scope, in_query: str | None) -> str | None:
    """The token, from where no log finds it if there is one there: subprotocol, header, query."""
    for offered in scope.get("subprotocols", ()):
        if offered.startswith(TOKEN_SUBPROTOCOL):
            return str(offered.removeprefix(TOKEN_SUBPROTOCOL))
    scheme, _, token = header_of(scope, b"authorization").partition(" ")
    return token.strip() if scheme.lower() == "bearer" else in_query


def has_token_subprotocol(scope: Scope) -> bool:
    """True when the token comes as what nobody else's can: headers and addresses may hold a site's own."""
    return any(offered.startswith(TOKEN_SUBPROTOCOL) for offered in scope.get("subprotocols", ()))


def agreed_subprotocol(scope: Scope) -> str | None:
    """What the server answers to the subprotocols offered; never the one with the token."""
    return SUBPROTOCOL if SUBPROTOCOL in scope.get("subprotocols", ()) else None


def header_of(scope: Scope, wanted: bytes) -> str:
    """Value of the first header of that lower-case name; empty without one."""
    values = (value for name, value in scope["headers"] if name == wanted)
    return str(next(values, b"").decode("latin-1").replace("\0", ""))
