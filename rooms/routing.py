"""WebSocket addresses, for Channels' `URLRouter`."""

from typing import Any

from django.urls import re_path

from rooms.consumer import RoomConsumer

_room: Any = RoomConsumer.as_asgi()  # an ASGI application where Django's types expect a view

websocket_urlpatterns: list[Any] = [re_path(r"^ws/rooms/(?P<slug>[^/]+)/$", _room)]
