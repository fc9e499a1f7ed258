"""A PostgreSQL server for all of these tests, and empty tables in it for each."""

from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest

from central.database import Database, prepare


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Database]:
    database = Database(Path(tmp_path_factory.mktemp("centre")))
    database.start()
    yield database
    database.stop()


@pytest.fixture
def database_url(server: Database) -> str:
    with psycopg.connect(server.url, autocommit=True) as connection:
        connection.execute("drop schema public cascade")
        connection.execute("create schema public")
    prepare(server.url)
    return server.url
