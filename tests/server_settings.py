"""The project's settings with some of `VUER_RTC` overridden, for `tests.server.ServerProcess(settings=…)`."""

import json
import os

from vuer_rtc.settings import *  # noqa: F403

VUER_RTC = json.loads(os.environ["VUER_RTC_TEST_SETTINGS"])
