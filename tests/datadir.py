"""Loaded before anything of Django (`-p tests.datadir`): the tests' settings get a data folder of their own.

Without it, settings would make their secret key and look for their database where `make run` keeps people's
data.

`VUER_RTC_TEST_DATABASE=postgresql` or `mongodb` runs the tests that use Django's database on a server of their own;
a DATABASE_URL there runs them on that server.  Default: SQLite, as a file in the data folder.
"""

import atexit
import os
import shutil
import tempfile
from contextlib import ExitStack

from tests.mongodb import MongoDB
from tests.postgresql import PostgreSQL

SERVERS = {"postgresql": PostgreSQL, "mongodb": MongoDB}

folder = tempfile.mkdtemp(prefix="vuer-rtc-tests-")
atexit.register(shutil.rmtree, folder, ignore_errors=True)

os.environ["VUER_RTC_DATA_DIR"] = folder
for name in (
    "DATABASE_URL",
    "REDIS_URL",
    "VUER_RTC_SECRET_KEY",
    "VUER_RTC_DEBUG",
    "VUER_RTC_ALLOWED_HOSTS",
    "VUER_RTC_HTTPS",
):
    os.environ.pop(name, None)

if wanted := os.environ.get("VUER_RTC_TEST_DATABASE"):
    if wanted in SERVERS:
        server = ExitStack()
        atexit.register(server.close)
        wanted = server.enter_context(SERVERS[wanted]()).url()
        os.environ["VUER_RTC_TEST_DATABASE"] = wanted  # for the workers of pytest-xdist, who load this too
    os.environ["DATABASE_URL"] = wanted
