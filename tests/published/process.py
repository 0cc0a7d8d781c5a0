"""A published client as a process of its own, and what the tests compare."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]


def published_directory() -> Path:
    """Where `make test` has put the published package; never on our own import path."""
    directory = Path(os.environ.get("VUER_RTC_PUBLISHED", ROOT / ".venv" / "published"))
    if not (directory / "vuer_rtc").is_dir():
        raise RuntimeError(f"the published client is not in {directory}; `make test` installs it there")
    return directory


class PublishedClient:
    """Drives one published store; every method of `driver.Driver` is a method here."""

    def __init__(self, name: str) -> None:
        self.name = name
        environment = {**os.environ, "PYTHONPATH": str(published_directory()), "PYTHONSAFEPATH": "1"}
        self._process = subprocess.Popen(
            [sys.executable, str(Path(__file__).with_name("driver.py"))],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env=environment,
            text=True,
        )

    def start(self, do: str, **arguments: Any) -> None:
        """Send a command without waiting for its answer."""
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps({"do": do, **arguments}) + "\n")
        self._process.stdin.flush()

    def answer(self) -> Any:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        assert line, f"the published client {self.name} died"
        answer = json.loads(line)
        assert "ok" in answer, answer.get("failed")
        return answer["ok"]

    def call(self, do: str, **arguments: Any) -> Any:
        self.start(do, **arguments)
        return self.answer()

    def stop(self) -> None:
        assert self._process.stdin is not None
        self._process.stdin.close()
        try:
            self._process.wait(timeout=5)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()


def live_nodes(graph: dict[str, Any]) -> dict[str, Any]:
    """The nodes that are not tombstones, as tag, name, children and properties."""
    return {
        key: {name: node[name] for name in ("tag", "name", "children", "properties")}
        for key, node in graph["nodes"].items()
        if not node["deleted"]
    }


def is_close(one: Any, other: Any) -> bool:
    """JSON equality, numbers within 1e-9 relative."""
    if isinstance(one, bool) or isinstance(other, bool):
        return one is other
    if isinstance(one, (int, float)) and isinstance(other, (int, float)):
        return abs(one - other) <= 1e-9 * max(1.0, abs(one))
    if isinstance(one, list):
        return isinstance(other, list) and len(one) == len(other) and all(map(is_close, one, other))
    if isinstance(one, dict):
        return (
            isinstance(other, dict)
            and one.keys() == other.keys()
            and all(is_close(one[k], other[k]) for k in one)
        )
    return bool(one == other)


def assert_same_scene(one: dict[str, Any], other: dict[str, Any]) -> None:
    """Both graphs show the same root and the same live nodes."""
    left, right = live_nodes(one), live_nodes(other)
    differing = [key for key in left.keys() | right.keys() if not is_close(left.get(key), right.get(key))]
    assert not differing, {key: (left.get(key), right.get(key)) for key in differing[:3]}
    assert one["root"] == other["root"]
