"""`python -m vuer_rtc`: look into a room from a terminal, and change it."""

from .client.command import main

if __name__ == "__main__":
    raise SystemExit(main())
