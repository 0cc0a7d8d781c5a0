"""The project's settings with some of `VUER_RTC` overridden, for `tests.server.ServerProcess(settings=…)`.

`VUER_RTC_TEST_CHANNEL_LAYER` names another class in the place of the channel layer's, `VUER_RTC_TEST_INIT_COMMAND`
another first statement of every connection to SQLite.
"""

import json
import os

from vuer_rtc.settings import *  # noqa: F403
from vuer_rtc.settings import CHANNEL_LAYERS, DATABASES

VUER_RTC = json.loads(os.environ["VUER_RTC_TEST_SETTINGS"])
if layer := os.environ.get("VUER_RTC_TEST_CHANNEL_LAYER"):
    CHANNEL_LAYERS["default"]["BACKEND"] = layer
if command := os.environ.get("VUER_RTC_TEST_INIT_COMMAND"):
    DATABASES["default"]["OPTIONS"]["init_command"] = command
