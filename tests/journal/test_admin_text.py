"""How the admin writes values: what differs is to be seen."""

import random
import subprocess
from collections.abc import Iterator

import pytest

from journal.admin_text import brief, brief_pair, command_line


@pytest.mark.parametrize(
    ("before", "after", "told"),
    [
        (1, None, ("1", "null")),
        ("a" * 18, "b" * 18, (f'"{"a" * 18}"', f'"{"b" * 18}"')),
        ("a" * 30 + "x", "a" * 30 + "y", ('…aaaaax"', '…aaaaay"')),
        ("a" * 30, "a" * 99, ('…aaaaa"', f"…{'a' * 18}…")),
        ("x" + "a" * 30, "y" + "a" * 30, (f'"x{"a" * 17}…', f'"y{"a" * 17}…')),
        ([*range(20)], [*range(19), 99], ("… 18, 19]", "… 18, 99]")),
    ],
)
def test_two_values_begin_shortly_before_they_differ(
    before: object, after: object, told: tuple[str, str]
) -> None:
    assert brief_pair(before, after, 20) == told


def test_different_values_are_told_differently_and_within_bounds() -> None:
    rng = random.Random(5)
    for _ in range(2000):
        one, other = (
            "".join(rng.choices("aab", k=rng.randint(0, 9))).rjust(rng.randint(0, 60), "a") for _ in "12"
        )
        told = brief_pair(one, other, 20)
        assert (told[0] != told[1]) == (one != other)
        assert max(map(len, told)) <= 20


def test_one_value_is_cut_at_its_end() -> None:
    assert (brief("abc", 5), brief("abcd", 5), brief(None)) == ('"abc"', '"abc…', "")


class Watched(list[int]):
    """A list that knows how far it was read."""

    read = 0

    def __iter__(self) -> Iterator[int]:
        for self.read, member in enumerate(super().__iter__(), 1):
            yield member


def test_of_a_large_value_no_more_is_written_than_is_shown() -> None:
    large, other = Watched(range(100_000)), Watched([7, *range(100_000)])
    assert brief(large, 20) == "[0, 1, 2, 3, 4, 5, …"
    assert brief_pair(None, large, 20) == ("null", "[0, 1, 2, 3, 4, 5, …")
    assert brief_pair(large, other, 20) == ("[0, 1, 2, 3, 4, 5, …", "[7, 0, 1, 2, 3, 4, …")
    assert 0 < max(large.read, other.read) < 20


def test_a_command_can_be_pasted_into_a_shell() -> None:
    told = command_line("look_back", "a-b", key="it's; rm", seq=4, label=None)
    assert told == """manage.py look_back --document a-b --key 'it'"'"'s; rm' --seq 4"""
    assert command_line("look_back", "-a", key="") == "manage.py look_back --document=-a --key ''"


@pytest.mark.parametrize(
    "key", ["\x15rm -rf ~\n", "it's \\ a\x1b[201~\r", "\x9b\u202e\u2028é\u3000😀\U000e0001"]
)
def test_a_command_presses_no_keys_and_names_what_it_should(key: str) -> None:
    told = command_line("look_back", "a", key=key)
    assert told.isprintable()
    script = told.replace("manage.py look_back", "printf '%s.'", 1)
    bash = subprocess.run(["bash", "-c", script], capture_output=True, env={"LC_ALL": "C.UTF-8"}, check=True)
    assert bash.stdout.decode() == f"--document.a.--key.{key}."
