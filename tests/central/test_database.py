"""The embedded PostgreSQL: fast to start, whoever starts it, and durable through a kill."""

import asyncio
import os
from pathlib import Path

import psutil
import psycopg
import pytest

from central.database import Database, url_in
from central.errors import DatabaseError


async def test_it_starts_for_root_and_others_and_what_was_committed_survives_a_kill(tmp_path: Path) -> None:
    async with Database(tmp_path / "centre") as database:
        with psycopg.connect(database.url) as connection:
            connection.execute("insert into refusal(gateway, reason, count) values('g', 'test', 7)")
        process = psutil.Process(database.pid)
        assert process.uids().effective != 0
        with psycopg.connect(database.url) as connection:
            assert connection.execute("show listen_addresses").fetchone() == ("",)
            assert connection.execute("show fsync").fetchone() == ("on",)
            assert connection.execute("show synchronous_commit").fetchone() == ("on",)
        assert url_in(tmp_path / "centre") == database.url
        await asyncio.to_thread(database.kill)
        await asyncio.to_thread(database.start)
        with psycopg.connect(database.url) as connection:
            assert connection.execute("select count from refusal").fetchone() == (7,)
        pid = database.pid
    assert pid is not None
    assert not psutil.pid_exists(pid)
    assert (tmp_path / "centre" / "postgres").stat().st_mode & 0o077 == 0
    with pytest.raises(DatabaseError, match="guet central run"):
        url_in(tmp_path / "centre")


async def test_the_folders_above_it_are_left_as_they_were(tmp_path: Path) -> None:
    private = tmp_path / "private"
    private.mkdir(mode=0o700)
    async with Database(private / "centre"):
        assert private.stat().st_mode & 0o777 == 0o700
        assert private.stat().st_uid == os.getuid()


async def test_a_server_that_does_not_answer_is_said_without_its_password() -> None:
    with pytest.raises(DatabaseError, match="expected to reach it") as refused:
        async with Database("postgresql://someone:hush-hush@127.0.0.1:9/nothing"):
            pass
    assert "hush-hush" not in str(refused.value)


async def test_a_folder_that_cannot_be_used_is_said(tmp_path: Path) -> None:
    (tmp_path / "postgres").mkdir()
    (tmp_path / "postgres" / "PG_VERSION").write_text("18")
    with pytest.raises(DatabaseError, match="its log says"):
        async with Database(tmp_path):
            pass
