"""`python -m vuer_rtc.serve`: the whole project from nothing to listening, in the foreground.

`HOST` (default 127.0.0.1) and `PORT` (default 8000; 0 takes a free one) say where.  Restarting with the same
data folder goes on where the last run ended.
"""

import os
import secrets
import signal
import sys
from contextlib import suppress
from dataclasses import dataclass

import django
import uvicorn
from django.conf import settings
from django.contrib.auth import get_user_model
from django.core.management import call_command
from django.core.management.base import SystemCheckError
from django.db.models import Q

from vuer_rtc.protocol.limit import Limits
from vuer_rtc.websocket import WebSocketProtocol

GRACEFUL_SHUTDOWN_MAX_S = 10
"""How long open connections may take to end after SIGTERM or Ctrl-C before they are cut."""

PASSWORD_CHARS = "abcdefghjkmnpqrstuvwxyz23456789"
"""Told apart at a glance and selected by a double click; 16 of them are 79 bits."""

ONE_TIME = {"username": "admin", "last_name": "(one-time login)"}
"""Marks the account whose password every start replaces; accounts made by people are never touched."""


@dataclass(frozen=True)
class Login:
    """How to get into the admin until the next start; the database holds the password's hash only."""

    username: str
    password: str


def open_one_time_login() -> Login | None:
    """A fresh login for the admin.

    None as soon as people have an administrator of their own: the one-time account is then closed.
    """
    users = get_user_model()._default_manager
    others = users.exclude(**ONE_TIME)
    if others.filter(Q(is_superuser=True, is_active=True) | Q(username=ONE_TIME["username"])).exists():
        users.filter(**ONE_TIME).update(is_active=False)
        return None
    login = Login(ONE_TIME["username"], "".join(secrets.choice(PASSWORD_CHARS) for _ in range(16)))
    users.filter(**ONE_TIME).delete()
    users.create_superuser(**ONE_TIME, password=login.password)
    return login


def announcement(host: str, port: int, login: Login | None) -> str:
    """What the terminal shows once everything is ready: where to go, and how to get in."""
    place = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
    entry = f"{login.username} / {login.password}  (until the next start)" if login else "your own account"
    return f"""
  pages      http://{place}/
  demo room  ws://{place}/ws/rooms/demo/?client=YOUR-ID
  admin      http://{place}/admin/
  login      {entry}
  data       {settings.DATA_DIR}

  Ctrl-C stops; the next start goes on from here.
"""


def server_config(host: str, port: int) -> uvicorn.Config:
    """uvicorn with the fastest parts it has, and without what costs more than it brings here."""
    limits = Limits().overridden(settings.VUER_RTC.get("LIMITS", {}))
    return uvicorn.Config(
        "vuer_rtc.asgi:application",
        host=host,
        port=port,
        http="h11",  # refuses headers without end; httptools, which is faster, keeps all of them in memory
        ws=WebSocketProtocol,
        ws_max_size=limits.frame_bytes_max,
        ws_per_message_deflate=False,  # frames are small and binary; deflate costs CPU and memory
        lifespan="on",
        access_log=False,  # addresses of rooms may carry tokens
        server_header=False,
        timeout_graceful_shutdown=GRACEFUL_SHUTDOWN_MAX_S,
        log_level="warning",
    )


def main() -> None:
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "vuer_rtc.settings")
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))  # a graceful stop is no failure
    config = server_config(os.environ.get("HOST") or "127.0.0.1", int(os.environ.get("PORT") or 8000))
    try:
        # First of all: a second start by mistake ends here, before it replaces the running server's login.
        socket = config.bind_socket()
    except SystemExit:
        sys.exit(f"cannot listen on {config.host}:{config.port}; HOST= and PORT= choose another place")
    host, port = socket.getsockname()[:2]
    with suppress(KeyboardInterrupt):  # uvicorn raises the signal again once it has shut down
        django.setup()
        call_command("migrate", verbosity=0, interactive=False)
        try:
            call_command("check", databases=["default"])
        except SystemCheckError as error:
            sys.exit(f"not started: {error}")
        call_command("seed_demo", verbosity=0)
        print(announcement(host, port, open_one_time_login()), flush=True)
        uvicorn.Server(config).run(sockets=[socket])


if __name__ == "__main__":
    main()
