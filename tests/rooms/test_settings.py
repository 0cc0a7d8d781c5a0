from typing import Any

import pytest

from rooms.settings import check_settings
from rooms.settings import settings as room_settings


def test_settings_are_read_when_asked_for(settings: Any) -> None:
    assert room_settings.room_idle_s == 60
    settings.VUER_RTC = {"ROOM_IDLE_S": 5}
    assert room_settings.room_idle_s == 5
    del settings.VUER_RTC
    assert room_settings.room_idle_s == 60


def test_defaults_pass_the_checks_and_wrong_values_are_named(settings: Any) -> None:
    assert check_settings() == []
    settings.VUER_RTC = {
        "ROOM_IDLE_S": "long",
        "BATCH_MESSAGES_MAX": 1.5,
        "WAITING_BYTES_MAX": -1,
        "POLICY": 7,
    }
    found = check_settings()
    assert {error.id for error in found} == {"vuer_rooms.E001"}
    assert len(found) == 4


def test_a_policy_that_cannot_be_imported_is_reported(settings: Any) -> None:
    settings.VUER_RTC = {"POLICY": "mysite.policy.Missing"}
    assert [error.id for error in check_settings()] == ["vuer_rooms.E002"]


def test_misspelt_keys_are_reported(settings: Any) -> None:
    """Those of the journal, `JOURNAL_…`, by the other app alone."""
    settings.VUER_RTC = {"ROOM_IDLE": 5, "JOURNAL_KEEP_MESAGES": 5, "JOURNAL_KEEP_DAYS": 5}
    assert [(error.id, error.msg) for error in check_settings()] == [
        ("vuer_rooms.E003", "VUER_RTC has an unknown key 'ROOM_IDLE'.")
    ]


@pytest.mark.parametrize(
    ("limits", "expected"),
    [
        ({"nodes_max": 20_000}, []),
        ({"nodes_maxx": 5}, ["vuer_rooms.E004"]),
        ({"key_chars_max": "x"}, ["vuer_rooms.E004"]),
        ({"key_chars_max": -1}, ["vuer_rooms.E004"]),
        ([5], ["vuer_rooms.E001"]),
    ],
)
def test_limits_that_cannot_be_are_reported(limits: Any, expected: list[str], settings: Any) -> None:
    """A room that opens ignores them, and only the log would tell."""
    settings.VUER_RTC = {"LIMITS": limits}
    assert [error.id for error in check_settings()] == expected
