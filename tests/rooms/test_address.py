from typing import Any

import pytest

from rooms.address import agreed_subprotocol, read_address
from rooms.refusal import Refused
from vuer_rtc.protocol.codes import CloseCode
from vuer_rtc.protocol.wire import Edition, Feature, Framing, Naming


def scope(query: str, slug: str = "room", **fields: Any) -> dict[str, Any]:
    headers = [(b"user-agent", b"probe/1.0 " + b"x" * 500)]
    return {
        "query_string": query.encode(),
        "url_route": {"kwargs": {"slug": slug}},
        "client": ("203.0.113.7", 4711),
        "headers": headers,
        **fields,
    }


def test_an_address_names_room_client_and_format() -> None:
    address = read_address(scope("client=ann%20b&format=json&naming=legacy&other=1"))
    assert (address.slug, address.client) == ("room", "ann b")
    assert (address.framing, address.naming) == (Framing.JSON, Naming.LEGACY)
    assert address.remote_address == "203.0.113.7"
    assert address.user_agent.startswith("probe/1.0")
    assert len(address.user_agent) == 256
    assert address.transport == "websocket, json"


def test_without_a_format_the_first_frame_decides() -> None:
    address = read_address(scope("client=ann", client=None, headers=[]))
    assert (address.framing, address.naming) == (None, Naming.COMPRESSED)
    assert (address.remote_address, address.user_agent, address.transport) == ("", "", "websocket")


def test_a_native_address_names_features_and_where_to_go_on() -> None:
    """N1, N5."""
    address = read_address(scope("client=ann&v=2&features=batch,telepathy&since=12"))
    assert (address.edition, address.features, address.since) == (Edition.NATIVE, {Feature.BATCH}, 12)
    assert address.transport == "websocket, native"
    assert address.at is None
    assert read_address(scope("client=ann&v=2&since=12&at=bob%3A%C3%BC%26")).at == "bob:ü&"
    assert read_address(scope("client=ann&v=2&after=1.5")).after == 1.5
    assert read_address(scope("client=ann&after=1.5")).after == 0
    address = read_address(scope("client=ann&v=2&format=msgpack"))
    assert (address.features, address.since) == (frozenset(), None)


@pytest.mark.parametrize("query", ["", "&v=1"])
def test_a_published_address_has_neither(query: str) -> None:
    """N1."""
    address = read_address(scope(f"client=ann&features=batch&since=12{query}"))
    assert (address.edition, address.features, address.since) == (Edition.PUBLISHED, frozenset(), None)


@pytest.mark.parametrize(
    "query",
    [
        "",
        "client=",
        "klient=ann",
        "client=%3Dserver",
        "client=" + "x" * 129,
        "client=a%00b",
        "client=a%0Ab",
        "client=%FF",
        "client=%ED%A0%80",
        "client=ann&" + "&".join(f"x{n}=1" for n in range(50)),
    ],
)
def test_a_client_id_that_cannot_be_used_is_refused(query: str) -> None:
    with pytest.raises(Refused) as refusal:
        read_address(scope(query))
    assert refusal.value.code is CloseCode.BAD_CLIENT


@pytest.mark.parametrize(
    "query",
    [
        *("client=ann&format=xml", "client=ann&naming=long", "client=ann&format=JSON", "client=ann&v=3"),
        "client=ann&v=2&after=noon",
        *(f"client=ann&v=2&since={since}" for since in ("-1", "x", "1.5", "9" * 16, "%C2%B2")),
    ],
)
def test_a_format_that_does_not_exist_is_refused(query: str) -> None:
    with pytest.raises(Refused) as refusal:
        read_address(scope(query))
    assert refusal.value.code is CloseCode.PROTOCOL


def test_a_token_is_taken_from_where_no_log_finds_it_if_it_is_there() -> None:
    """R1."""
    everywhere = scope(
        "client=ann&token=q",
        subprotocols=["vuer-rtc", "vuer-rtc.token.s"],
        headers=[(b"authorization", b"Bearer h")],
    )
    assert read_address(everywhere).token == "s"
    assert agreed_subprotocol(everywhere) == "vuer-rtc"
    assert read_address(everywhere | {"subprotocols": ["chat"]}).token == "h"
    assert agreed_subprotocol(everywhere | {"subprotocols": ["vuer-rtc.token.s"]}) is None
    assert read_address(scope("client=ann&token=q", headers=[(b"authorization", b"Basic eDp5")])).token == "q"
    assert read_address(scope("client=ann")).token is None
