"""`check_wheel.py WHEEL`: exit status 1 unless the wheel holds every template, style sheet and module of the tree."""

import sys
import zipfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent


def expected() -> set[str]:
    """Names inside the wheel for what the tree has; top-level templates live in the rooms app there."""
    templates = {f"rooms/{path.relative_to(ROOT)}" for path in (ROOT / "templates").rglob("*.html")}
    modules = {
        str(path.relative_to(ROOT))
        for package in ("vuer_rtc", "rooms", "journal")
        for pattern in ("*.py", "*.css")
        for path in (ROOT / package).rglob(pattern)
    }
    return templates | modules | {"vuer_rtc/py.typed", "rooms/py.typed", "journal/py.typed"}


def main(wheel: str) -> int:
    missing = sorted(expected() - set(zipfile.ZipFile(wheel).namelist()))
    for name in missing:
        print(f"{wheel}: {name} is missing", file=sys.stderr)
    print(f"{Path(wheel).name}: {len(expected()) - len(missing)} files as expected, {len(missing)} missing")
    return 1 if missing else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
