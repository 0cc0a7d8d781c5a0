"""What a client says of itself when it connects."""

import pytest

from vuer_rtc.client.handshake import Handshake, room_url


@pytest.mark.parametrize(
    ("given", "wanted"),
    [
        ("ws://host/ws/rooms/stage/", "ws://host/ws/rooms/stage/"),
        ("http://host:8000/ws/rooms/stage", "ws://host:8000/ws/rooms/stage/"),
        ("https://host/ws/rooms/stage/?client=ann#top", "wss://host/ws/rooms/stage/"),
    ],
)
def test_a_room_has_one_address_however_it_is_written(given: str, wanted: str) -> None:
    assert room_url(given) == wanted


def test_the_address_says_who_comes_and_what_is_known() -> None:
    handshake = Handshake("ws://host/ws/rooms/stage/", "ann & bob")
    anew = "ws://host/ws/rooms/stage/?client=ann+%26+bob&format=msgpack&v=2&features=batch%2Cpresence"
    assert handshake.address(None) == anew
    assert handshake.address(0) == f"{anew}&since=0"
    assert handshake.address(7, "bob:ü&") == f"{anew}&since=7&at=bob%3A%C3%BC%26"
    assert handshake.address(None, after=1.5) == f"{anew}&after=1.5"


async def test_a_token_goes_with_the_headers_and_a_function_is_asked_every_time() -> None:
    tokens = iter(["first", "second"])

    async def fresh() -> str:
        return next(tokens)

    headers = {"Cookie": "sessionid=x"}
    asked = Handshake("ws://host/", "ann", lambda: next(tokens), headers)
    awaited = Handshake("ws://host/", "ann", fresh, headers)
    given = Handshake("ws://host/", "ann", "fixed")
    assert await asked.all_headers() == {"Cookie": "sessionid=x", "Authorization": "Bearer first"}
    assert await awaited.all_headers() == {"Cookie": "sessionid=x", "Authorization": "Bearer second"}
    assert await given.all_headers() == {"Authorization": "Bearer fixed"}
    assert await Handshake("ws://host/", "ann").all_headers() == {}
    assert (asked.can_renew, awaited.can_renew, given.can_renew) == (True, True, False)


def test_who_reads_a_log_learns_no_token() -> None:
    assert "secret" not in repr(Handshake("ws://host/", "ann", "secret", {"Cookie": "secret"}))
