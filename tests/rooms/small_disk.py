"""A real disk that can be filled, and one that turns read-only, under a server's SQLite database.

Where nothing may be mounted, SQLite itself keeps to a number of pages: the same error code, by the same way.
"""

import os
import shutil
import sqlite3
import subprocess
from contextlib import closing
from pathlib import Path
from typing import Protocol

SIZE = 8 * 1024 * 1024
PAGES_MAX = 700
INIT = "PRAGMA journal_mode=WAL; PRAGMA synchronous=FULL"


class SmallDisk(Protocol):
    """Where a database has little room."""

    kind: str
    """For the record: what stood in for a disk."""
    database: Path
    init_command: str
    """First statement of the server's connections."""

    def fill(self) -> None:
        """Afterwards nothing can be written."""

    def free(self) -> None:
        """Afterwards there is room again."""

    def remove(self) -> None: ...


def small_disk(folder: Path) -> SmallDisk:
    """The most real one that can be had here."""
    place = folder / "disk"
    place.mkdir()
    try:
        return MountedDisk(place)
    except (OSError, subprocess.CalledProcessError):
        return PagedDisk(place)


class MountedDisk:
    """A file system of its own, in memory."""

    kind = "a mounted tmpfs"
    init_command = INIT

    def __init__(self, place: Path) -> None:
        mount("-t", "tmpfs", "-o", f"size={SIZE}", "tmpfs", str(place))
        self.place = place
        self.database = place / "db.sqlite3"
        self._ballast = place / "ballast"

    def fill(self) -> None:
        with self._ballast.open("wb", buffering=0) as ballast:
            try:
                while True:
                    ballast.write(bytes(4096))
            except OSError:
                pass

    def free(self) -> None:
        self._ballast.unlink()

    def remove(self) -> None:
        subprocess.run(["umount", str(self.place)], check=True)


class PagedDisk:
    """SQLite's own bound."""

    kind = "PRAGMA max_page_count"
    init_command = f"{INIT}; PRAGMA max_page_count={PAGES_MAX}"

    def __init__(self, place: Path) -> None:
        self.database = place / "db.sqlite3"

    def fill(self) -> None:
        with closing(sqlite3.connect(self.database, timeout=20, isolation_level=None)) as database:
            database.execute(f"PRAGMA max_page_count={PAGES_MAX}")
            database.execute("CREATE TABLE ballast (bytes)")
            try:
                while True:
                    database.execute("INSERT INTO ballast VALUES (zeroblob(4000))")
            except sqlite3.OperationalError:
                pass

    def free(self) -> None:
        with closing(sqlite3.connect(self.database, timeout=20, isolation_level=None)) as database:
            database.execute("DROP TABLE ballast")

    def remove(self) -> None: ...


class FailingDisk:
    """An ext4 file system that finds an error and turns read-only, as a disk that dies does.

    Raises: OSError, CalledProcessError when there can be none here.
    """

    def __init__(self, folder: Path) -> None:
        if os.geteuid() != 0 or shutil.which("mkfs.ext4") is None:
            raise OSError("file systems are made by root, with mkfs.ext4")
        self.image, self.place = folder / "ext4.image", folder / "ext4"
        self.place.mkdir()
        with self.image.open("wb") as image:
            image.truncate(2 * SIZE)
        subprocess.run(["mkfs.ext4", "-q", "-F", str(self.image)], check=True, capture_output=True)
        self._mount()
        self.database = self.place / "db.sqlite3"

    def _mount(self) -> None:
        mount("-o", "loop,errors=remount-ro", str(self.image), str(self.place))

    def fail(self) -> None:
        """Afterwards nothing can be written, also through files that are open."""
        source = subprocess.run(
            ["findmnt", "-n", "-o", "SOURCE", str(self.place)], check=True, capture_output=True, text=True
        )
        device = Path(source.stdout.strip()).name
        Path(f"/sys/fs/ext4/{device}/trigger_fs_error").write_text("test")

    def repair(self) -> None:
        """What an operator does, while nothing is open on it."""
        self.remove()
        subprocess.run(["fsck.ext4", "-y", "-f", str(self.image)], capture_output=True)
        self._mount()

    def remove(self) -> None:
        subprocess.run(["umount", str(self.place)], check=True)


def mount(*arguments: str) -> None:
    subprocess.run(["mount", *arguments], check=True, capture_output=True)
