"""The package as others get it: the wheel, the site of docs/embed.md built on it, parts without Django."""

import os
import re
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from vuer_rtc import client

ROOT = Path(__file__).resolve().parent.parent

WITHOUT_DJANGO = """
import importlib, pkgutil, sys

class Blocked:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {"django", "channels", "asgiref", "daphne"}:
            raise ImportError(f"{name} is not installed here")

sys.meta_path.insert(0, Blocked())
package = importlib.import_module(sys.argv[1])
for module in pkgutil.walk_packages(package.__path__, package.__name__ + "."):
    importlib.import_module(module.name)
"""

SITE_SETTINGS = """
from pathlib import Path
SECRET_KEY = "of the site"
ALLOWED_HOSTS = ["site.example"]
INSTALLED_APPS = [
    "django.contrib.admin", "django.contrib.auth", "django.contrib.contenttypes", "django.contrib.sessions",
    "django.contrib.messages",
]
MIDDLEWARE = [
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
]
ROOT_URLCONF = "urls"
STATIC_URL = "static/"
DATABASES = {"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": Path(__file__).with_name("site.db")}}
TEMPLATES = [{
    "BACKEND": "django.template.backends.django.DjangoTemplates", "APP_DIRS": True,
    "OPTIONS": {"context_processors": [
        "django.template.context_processors.request", "django.contrib.auth.context_processors.auth",
        "django.contrib.messages.context_processors.messages",
    ]},
}]
"""
SITE_URLS = """
from django.contrib import admin
from django.urls import path
urlpatterns = [path("admin/", admin.site.urls)]
"""
USE_SITE = """
import sys
from asgi import application
from django.core.management import call_command
from django.template.loader import get_template
import rooms
assert rooms.__file__.startswith(sys.argv[1]), rooms.__file__
call_command("check", fail_level="WARNING")
call_command("migrate", verbosity=0)
call_command("check", databases=["default"], fail_level="WARNING")
call_command("makemigrations", "vuer_rooms", "vuer_journal", check=True, dry_run=True, verbosity=0)
for name in sys.argv[2:]:
    get_template(name)
"""

TEST_SITE = """
from django.core.management import execute_from_command_line
execute_from_command_line(["manage.py", "test", "tests"])
"""


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel of this tree."""
    folder = tmp_path_factory.mktemp("wheel")
    command = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(folder)]
    subprocess.run(command, cwd=ROOT, check=True, capture_output=True)
    (built,) = folder.glob("*.whl")
    return built


def embed_blocks(name: str) -> str:
    """The code that docs/embed.md tells a site owner to put into the file `name`, joined."""
    blocks = re.findall(
        rf"```python\n# {re.escape(name)}\n(.*?)```", (ROOT / "docs/embed.md").read_text(), re.S
    )
    assert blocks, f"docs/embed.md has no block for {name}"
    return "\n".join(blocks)


def run_python(code: str, *arguments: str, cwd: Path, **environment: str) -> None:
    """Runs code in a fresh interpreter that finds nothing of this tree by itself."""
    kept = {
        name: value
        for name, value in os.environ.items()
        if name not in {"PYTHONPATH", "DJANGO_SETTINGS_MODULE"}
    }
    command = [sys.executable, "-c", code, *arguments]
    done = subprocess.run(
        command, cwd=cwd, env={**kept, **environment}, capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_wheel_holds_every_template_and_module(wheel: Path) -> None:
    command = [sys.executable, str(ROOT / ".ci/check_wheel.py"), str(wheel)]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    names = zipfile.ZipFile(wheel).namelist()
    assert "rooms/templates/vuer_rtc/base.html" in names
    assert not [name for name in names if name.startswith(("tests/", "templates/", "data/"))]


def test_a_site_built_as_the_docs_say_runs_on_the_wheel(wheel: Path, tmp_path: Path) -> None:
    installed, site = tmp_path / "installed", tmp_path / "site"
    zipfile.ZipFile(wheel).extractall(installed)
    site.mkdir()
    (site / "site_settings.py").write_text(SITE_SETTINGS + embed_blocks("settings.py"))
    (site / "urls.py").write_text(SITE_URLS + embed_blocks("urls.py"))
    (site / "asgi.py").write_text(embed_blocks("asgi.py"))
    templates = [str(path.relative_to(ROOT / "templates")) for path in (ROOT / "templates").rglob("*.html")]
    paths = os.pathsep.join([str(site), str(installed)])
    run_python(USE_SITE, str(installed), *templates, cwd=site, PYTHONPATH=paths)
    (site / "tests.py").write_text(embed_blocks("tests.py").replace("mysite.asgi", "asgi"))
    run_python(TEST_SITE, cwd=site, PYTHONPATH=paths, DJANGO_SETTINGS_MODULE="site_settings")


@pytest.mark.parametrize("package", ["vuer_rtc.crdt", "vuer_rtc.protocol", "vuer_rtc.client"])
def test_pure_packages_import_without_django(package: str, tmp_path: Path) -> None:
    run_python(WITHOUT_DJANGO, package, cwd=tmp_path, PYTHONPATH=str(ROOT))


def test_type_checkers_know_every_name_of_the_client_and_no_other(tmp_path: Path) -> None:
    names = " ".join(client.NAMES.values()).split()
    program = "".join(
        f"reveal_type(vuer_rtc.{name})\n" for name in [*names, "client.roomClient", "roomClient"]
    )
    (tmp_path / "program.py").write_text("import vuer_rtc.client\n" + program)
    command = [sys.executable, "-m", "mypy", "--config-file=", "--cache-dir=cache", "program.py"]
    done = subprocess.run(
        command, cwd=tmp_path, env={**os.environ, "MYPYPATH": str(ROOT)}, capture_output=True, text=True
    )
    told = [line for line in done.stdout.splitlines() if "Revealed type" in line]
    unknown = [line for line in told if line.endswith('"Any"')]
    wrong = [line for line in done.stdout.splitlines() if "error:" in line]
    assert (len(told), len(unknown), len(wrong)) == (len(names) + 2, 2, 2), done.stdout
    assert all('has no attribute "roomClient"' in line for line in wrong), done.stdout


def test_the_lock_files_name_no_index() -> None:
    for name in ("requirements.lock", "requirements-dev.lock", ".ci/published.lock"):
        text = (ROOT / name).read_text()
        assert "://" not in text
        assert "--index" not in text
