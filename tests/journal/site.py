"""A database of its own, and the commands on it, each in a process."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

from journal.failpoint import VARIABLE
from tests.server import ROOT, ServerProcess


class Site(ServerProcess):
    """A database, and the commands on it."""

    def __init__(self, data_dir: Path) -> None:
        super().__init__(data_dir)
        data_dir.mkdir(exist_ok=True)
        self.manage("migrate", "--verbosity", "0")

    def run(self, *arguments: str, point: str = "", stdin: bytes = b"") -> subprocess.CompletedProcess[bytes]:
        environment = self.environment() | ({VARIABLE: point} if point else {})
        command = [sys.executable, "manage.py", *arguments]
        return subprocess.run(
            command, cwd=ROOT, env=environment, input=stdin, capture_output=True, timeout=120
        )

    def start_command(self, *arguments: str, point: str = "") -> subprocess.Popen[bytes]:
        environment = self.environment() | ({VARIABLE: point} if point else {})
        command = [sys.executable, "manage.py", *arguments]
        return subprocess.Popen(
            command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE
        )

    def report(self, *arguments: str) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self.manage(*arguments, "--json"))
        return found

    def rows(self) -> list[Any]:
        """Every document, with its number of batches."""
        code = (
            "import json; from django.db.models import Count; from journal.models import Document;"
            "rows = Document.objects.annotate(n=Count('batches')).order_by('slug');"
            "print(json.dumps(list(rows.values_list('slug', 'condition', 'n'))))"
        )
        found: list[Any] = json.loads(self.manage("shell", "--no-imports", "-c", code))
        return found
