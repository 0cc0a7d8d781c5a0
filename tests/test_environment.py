"""What the runnable project makes of its environment."""

import stat
from pathlib import Path

import pytest

from vuer_rtc import environment


@pytest.fixture(autouse=True)
def nothing_set(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("DATABASE_URL", "REDIS_URL", "VUER_RTC_SECRET_KEY", "VUER_RTC_DATA_DIR"):
        monkeypatch.delenv(name, raising=False)


def test_the_signing_key_is_made_once_and_private(tmp_path: Path) -> None:
    key = environment.secret_key(tmp_path)
    assert len(key) > 60
    assert environment.secret_key(tmp_path) == key
    (only,) = tmp_path.iterdir()
    assert stat.S_IMODE(only.stat().st_mode) == 0o600


def test_the_signing_key_of_the_environment_wins_and_leaves_no_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("VUER_RTC_SECRET_KEY", "given")
    assert environment.secret_key(tmp_path) == "given"
    assert not list(tmp_path.iterdir())


def test_a_new_data_folder_is_for_its_owner_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VUER_RTC_DATA_DIR", str(tmp_path / "deep" / "data"))
    folder = environment.data_dir(tmp_path / "other")
    assert folder == tmp_path / "deep" / "data"
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700


def test_sqlite_in_the_data_folder_is_the_default(tmp_path: Path) -> None:
    found = environment.database(tmp_path)
    assert found["ENGINE"] == "django.db.backends.sqlite3"
    assert Path(found["NAME"]) == tmp_path / "db.sqlite3"
    assert found["OPTIONS"]["transaction_mode"] == "IMMEDIATE"


def test_postgres_comes_with_a_pool_and_a_decoded_password(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DATABASE_URL", "postgres://anna:p%40ss@db.example:5433/scenes")
    found = environment.database(tmp_path)
    assert found["ENGINE"] == "django.db.backends.postgresql"
    assert (found["USER"], found["PASSWORD"], found["HOST"], found["PORT"]) == (
        "anna",
        "p@ss",
        "db.example",
        5433,
    )
    assert found["OPTIONS"]["pool"]["max_size"] == environment.POSTGRES_POOL_SIZE_MAX
    assert found["OPTIONS"]["pool"]["reconnect_timeout"] == 2
    assert found["DISABLE_SERVER_SIDE_CURSORS"]


def test_postgres_prepares_statements_only_where_it_is_told_to(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Django's own default is that it does not; psycopg takes numbers only."""
    monkeypatch.setenv("DATABASE_URL", "postgres://db.example/scenes")
    assert "prepare_threshold" not in environment.database(tmp_path)["OPTIONS"]
    monkeypatch.setenv("DATABASE_URL", "postgres://db.example/scenes?prepare_threshold=5")
    assert environment.database(tmp_path)["OPTIONS"]["prepare_threshold"] == 5


def test_a_postgres_that_does_not_answer_at_all_is_given_up_soon(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DATABASE_URL", "postgres://db.example/scenes?connect_timeout=9")
    options = environment.database(tmp_path)["OPTIONS"]
    assert int(options["connect_timeout"]) == 9
    assert options["tcp_user_timeout"] == 10_000


def test_a_database_that_is_not_set_up_is_refused_by_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DATABASE_URL", "mysql://anna@db.example/scenes")
    with pytest.raises(ValueError, match="mysql"):
        environment.database(tmp_path)


def test_redis_is_used_when_it_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    assert "InMemory" in environment.channel_layers()["default"]["BACKEND"]
    monkeypatch.setenv("REDIS_URL", "redis://cache.example:6379/1")
    layer = environment.channel_layers()["default"]
    assert layer["BACKEND"] == "channels_redis.pubsub.RedisPubSubChannelLayer"
    assert layer["CONFIG"]["hosts"] == ["redis://cache.example:6379/1"]


def test_mongodb_acknowledges_what_a_majority_has_on_disk(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    url = "mongodb://anna:p%40ss@db.example/scenes?replicaSet=one"
    monkeypatch.setenv("DATABASE_URL", url)
    found = environment.database(tmp_path)
    assert (found["ENGINE"], found["HOST"], found["NAME"]) == ("django_mongodb_backend", url, "scenes")
    assert (found["OPTIONS"]["w"], found["OPTIONS"]["journal"]) == ("majority", True)
    monkeypatch.setenv("DATABASE_URL", "mongodb://db.example/")
    with pytest.raises(ValueError, match="name the database"):
        environment.database(tmp_path)
