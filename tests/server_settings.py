"""The project's settings with some of `VUER_RTC` overridden, for `tests.server.ServerProcess(settings=…)`.

`VUER_RTC_TEST_CHANNEL_LAYER` names another class in the place of the channel layer's.
"""

import json
import os

from vuer_rtc.settings import *  # noqa: F403
from vuer_rtc.settings import CHANNEL_LAYERS

VUER_RTC = json.loads(os.environ["VUER_RTC_TEST_SETTINGS"])
if layer := os.environ.get("VUER_RTC_TEST_CHANNEL_LAYER"):
    CHANNEL_LAYERS["default"]["BACKEND"] = layer
