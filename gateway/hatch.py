"""The hatch: how a verb of the command line reaches the gateway that runs.

`guet run` holds the ports and the store, so a verb asks through a socket in the data folder, for this user alone: one JSON
line that names the job and what is wished, then JSON lines as the job finds things, then one that ends. Who hangs up cancels
the job. Where no gateway runs the verb builds one that does not poll, and does the same job with it: the same code sees the
same site, codecs and store either way, and so does the page, which calls the jobs' functions itself.

    -> {"job": "why", "wish": {"point": "amont/pressure"}, "language": "fr"}
    <- {"row": {...}}            any number
    <- {"end": ""}               or {"end": "sentence", "fault": "wish" or "failed"}
"""

from __future__ import annotations

import asyncio
import json
import logging
import os
import socket
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterator, Mapping
from contextlib import aclosing, asynccontextmanager, contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from pydantic import TypeAdapter, ValidationError

from gateway.clock import SystemClock
from gateway.desk import MOST_AT_ONCE, Desk, Taken
from gateway.errors import GuetError, HatchError, WishError
from gateway.language import language, say, speaking
from gateway.store import Store

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

    from gateway.app import Gateway
    from gateway.site import Site

log = logging.getLogger(__name__)

FILE = "guet.sock"
MAX_WISH_BYTES = 3 * 1024 * 1024
"""A site file is a wish, too: a MiB, and its line ends escaped."""
MAX_ROW_BYTES = 16 * 1024 * 1024
ASKED_WITHIN_S = 5.0
TAKEN_WITHIN_S = 10.0
"""How long a row may wait for a client that does not read."""
LONGEST_JOB_S = 3600.0
CONNECT_S = 3.0

Wish = TypeVar("Wish", bound="DataclassInstance")
Row = TypeVar("Row", bound="DataclassInstance")
_Way = tuple[asyncio.StreamReader, asyncio.StreamWriter]


@dataclass(frozen=True, slots=True)
class Job(Generic[Wish, Row]):
    """Something a verb asks of a gateway. wish, row: frozen dataclasses of plain values; `row` may be a union of several,
    told apart by a literal field. work: yields rows as it finds them; raises GuetError with a sentence for people. alone:
    nobody else's job that is, may run beside it (`gateway.desk`)."""

    name: str
    wish: type[Wish]
    row: Any
    work: Callable[[Gateway, Wish], AsyncGenerator[Row, None]]
    alone: bool = False


# -- the gateway's side ------------------------------------------------------------------------------------------------


@asynccontextmanager
async def opened(
    gateway: Gateway, jobs: Callable[[], Mapping[str, Job[Any, Any]]], desk: Desk | None = None
) -> AsyncIterator[None]:
    """Serves the hatch of a running gateway while the block lasts. jobs: asked for when somebody first comes, because their
    code takes memory that a gateway without visitors need not have. desk: where the page's jobs are, too. Raises HatchError
    where the socket cannot be made."""
    folder, table = gateway.store.path.parent, desk or Desk()
    busy: set[asyncio.Task[None]] = set()

    async def served(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        busy.add(task)
        try:
            if len(busy) > MOST_AT_ONCE:
                await _tell(writer, _end(say("trop de demandes à la fois ; réessayer", "too many at once; try again")))
                return
            await _serve(gateway, jobs(), table, reader, writer)
        except (ConnectionError, TimeoutError):
            pass  # who asked is gone, or does not read
        finally:
            busy.discard(task)
            writer.close()

    with _reachable(folder) as path:
        Path(path).unlink(missing_ok=True)  # the store's lock is ours, so nobody serves it
        listening = socket.socket(socket.AF_UNIX)
        try:
            os.fchmod(listening.fileno(), 0o600)  # before it has a name: nobody else may slip in
            listening.bind(path)
            Path(path).chmod(0o600)
            server = await asyncio.start_unix_server(served, sock=listening, limit=MAX_WISH_BYTES)
        except OSError as error:
            listening.close()
            raise HatchError(f"{folder / FILE}: expected a socket that can be made, got: {error}") from None
        try:
            yield
        finally:
            server.close()
            for task in tuple(busy):
                task.cancel()
            await asyncio.gather(*busy, return_exceptions=True)
            Path(path).unlink(missing_ok=True)


async def _serve(
    gateway: Gateway,
    jobs: Mapping[str, Job[Any, Any]],
    desk: Desk,
    reader: asyncio.StreamReader,
    writer: asyncio.StreamWriter,
) -> None:
    """One connection: one wish, its rows, its end."""
    try:
        async with asyncio.timeout(ASKED_WITHIN_S):
            line = await reader.readline()
        job, wish, spoken = _asked(line, jobs)
    except ValueError as error:  # too long a line is one, too
        log.warning("hatch: refused: %s", error)
        await _tell(writer, _end(f"{error}"))
        return
    with speaking(spoken):
        stopped = asyncio.Event()
        try:
            place = desk.begin(job.name, getattr(wish, "by", ""), job.alone, gateway.clock.now(), stopped.set)
        except Taken as error:
            await _tell(writer, _end(str(error)))
            return
        work = asyncio.create_task(_done(gateway, job, wish, writer), name=f"job {job.name}")
        gone = asyncio.create_task(reader.read(1), name="hatch")
        stop = asyncio.create_task(stopped.wait(), name="hatch")
        try:
            async with asyncio.timeout(LONGEST_JOB_S):
                await asyncio.wait((work, gone, stop), return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in (work, gone, stop):
                task.cancel()
            await asyncio.gather(work, gone, stop, return_exceptions=True)
            desk.end(place)
        if stopped.is_set():
            await _tell(writer, _end(say("annulé depuis la page", "cancelled from the page")))


async def _done(gateway: Gateway, job: Job[Any, Any], wish: Any, writer: asyncio.StreamWriter) -> None:
    """Does a job and tells its rows. A fault of ours ends the job, not the gateway."""
    try:
        async with aclosing(job.work(gateway, wish)) as rows:
            async for row in rows:
                await _tell(writer, {"row": asdict(row)})
    except WishError as error:
        await _tell(writer, _end(str(error)) | {"fault": "wish"})
    except GuetError as error:
        await _tell(writer, _end(str(error)))
    except (ConnectionError, TimeoutError):
        raise
    except Exception:
        log.exception("hatch: job %s ended by a fault", job.name)
        await _tell(writer, _end(say("faute du programme : le journal de la passerelle dit laquelle",
                                     "a fault of the program: the gateway's log says which")))  # fmt: skip
    else:
        await _tell(writer, {"end": ""})


def _asked(line: bytes, jobs: Mapping[str, Job[Any, Any]]) -> tuple[Job[Any, Any], Any, str]:
    """What one line asks. Raises ValueError."""
    body = json.loads(line)
    if not isinstance(body, dict) or not isinstance(body.get("job"), str) or body["job"] not in jobs:
        raise ValueError(f"expected a job, one of {', '.join(jobs)}, got {line[:80]!r}")
    job = jobs[body["job"]]
    try:
        wish = TypeAdapter(job.wish).validate_python(body.get("wish") or {})
    except ValidationError as error:
        raise ValueError(f"job {job.name!r}: {error.errors()[0]['loc']}: {error.errors()[0]['msg']}") from None
    return job, wish, "en" if body.get("language") == "en" else "fr"


def _end(sentence: str) -> dict[str, Any]:
    return {"end": sentence, "fault": "failed"}


async def _tell(writer: asyncio.StreamWriter, body: Mapping[str, Any]) -> None:
    writer.write(json.dumps(body, ensure_ascii=False).encode() + b"\n")
    async with asyncio.timeout(TAKEN_WITHIN_S):
        await writer.drain()


# -- the verb's side ---------------------------------------------------------------------------------------------------


async def ask(site: Site, job: Job[Wish, Row], wish: Wish) -> AsyncGenerator[Row, None]:
    """The rows of a job, done by the gateway that runs on this site, or here where none does. Raises GuetError with what
    went wrong. Closing the generator ends the job."""
    way = await _way_to(site.data)
    async with aclosing(_alone(site, job, wish) if way is None else _through(way, job, wish)) as rows:
        async for row in rows:
            yield row


async def ask_running(data: Path, job: Job[Wish, Row], wish: Wish) -> list[Row] | None:
    """All rows of a job, done by the gateway that runs on this data folder; None where none does. Raises GuetError."""
    if not data.is_dir() or (way := await _way_to(data)) is None:
        return None
    async with aclosing(_through(way, job, wish)) as rows:
        return [row async for row in rows]


async def _way_to(data: Path) -> _Way | None:
    """The way to the gateway that runs on this data folder; None where none does. Raises HatchError."""
    try:
        async with asyncio.timeout(CONNECT_S):
            with _reachable(data) as path:
                return await asyncio.open_unix_connection(path, limit=MAX_ROW_BYTES)
    except PermissionError:
        raise HatchError(
            say(f"{data / FILE} : la passerelle tourne sous un autre utilisateur ; recommencer avec sudo",
                f"{data / FILE}: the gateway runs as another user; try again with sudo")
        ) from None  # fmt: skip
    except (OSError, TimeoutError):
        return None


async def _through(way: _Way, job: Job[Wish, Row], wish: Wish) -> AsyncGenerator[Row, None]:
    reader, writer = way
    made: TypeAdapter[Row] = TypeAdapter(job.row)
    try:
        await _tell(writer, {"job": job.name, "wish": asdict(wish), "language": language()})
        while True:
            async with asyncio.timeout(LONGEST_JOB_S):
                line = await reader.readline()
            body = json.loads(line)
            if fault := body.get("fault"):
                raise (WishError if fault == "wish" else HatchError)(body["end"])
            if "end" in body:
                return
            yield made.validate_python(body["row"])
    except (ConnectionError, json.JSONDecodeError):
        raise HatchError(say("la passerelle s'est arrêtée avant d'avoir fini ; recommencer",
                             "the gateway ended before it was done; try again")) from None  # fmt: skip
    finally:
        writer.close()


async def _alone(site: Site, job: Job[Wish, Row], wish: Wish) -> AsyncGenerator[Row, None]:
    """With a gateway of our own, which does not poll. Raises StoreError where another process holds the store."""
    from gateway.app import Gateway

    async with Store.open(site.data, SystemClock()) as store:
        gateway = Gateway(site, [], store, SystemClock())
        try:
            async with aclosing(job.work(gateway, wish)) as rows:
                async for row in rows:
                    yield row
        finally:
            await gateway.close()


@contextmanager
def _reachable(folder: Path) -> Iterator[str]:
    """A name of the socket that is short enough for the kernel (107 bytes), however deep the folder is."""
    folder.mkdir(parents=True, exist_ok=True)
    opened_folder = os.open(folder, os.O_PATH | os.O_DIRECTORY)
    try:
        yield f"/proc/self/fd/{opened_folder}/{FILE}"
    finally:
        os.close(opened_folder)
