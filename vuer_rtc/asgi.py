"""The ASGI application of the runnable project: pages by Django, rooms by Channels, one lifespan."""

import os
from typing import Any

from django.core.asgi import get_asgi_application

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "vuer_rtc.settings")
pages = get_asgi_application()  # sets Django up: what is imported below has models

from channels.routing import ProtocolTypeRouter, URLRouter  # noqa: E402
from channels.security.websocket import WebsocketDenier  # noqa: E402
from django.urls import re_path  # noqa: E402

from rooms import hub  # noqa: E402
from rooms.routing import websocket_urlpatterns  # noqa: E402
from vuer_rtc.body_limit import BodyLimit  # noqa: E402
from vuer_rtc.lifespan import Lifespan  # noqa: E402
from vuer_rtc.origin import PageOriginValidator  # noqa: E402
from vuer_rtc.static_files import StaticFiles  # noqa: E402

nowhere: Any = WebsocketDenier.as_asgi()  # an ASGI application where Django's types expect a view
sockets = URLRouter([*websocket_urlpatterns, re_path("", nowhere)])

application = Lifespan(
    ProtocolTypeRouter(
        {
            # The admin's few style sheets come from the server itself, so that one command is enough; behind
            # a web server, `collectstatic` and a location block take them off it.
            "http": BodyLimit(StaticFiles(pages)),
            "websocket": PageOriginValidator(sockets),
        }
    ),
    startup=hub.startup,
    shutdown=hub.shutdown,
)
