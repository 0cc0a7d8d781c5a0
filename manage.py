#!/usr/bin/env python
"""Django's command line for the runnable project."""

import os
import sys


def main() -> None:
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "vuer_rtc.settings")
    from django.core.management import execute_from_command_line

    try:
        execute_from_command_line(sys.argv)
    except KeyboardInterrupt:  # before a command, which says more
        sys.exit(130)


if __name__ == "__main__":
    main()
