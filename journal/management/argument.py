"""What is wrong with what a command was asked for."""

from django.core.management.base import CommandError


class Senseless(CommandError):
    """The arguments make no sense, together or on this site: nothing was done, exit status 2 (as argparse has it).
    With `--json` an object on the standard output says so as well."""

    def __init__(self, text: str) -> None:
        super().__init__(text, returncode=2)
