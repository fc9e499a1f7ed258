"""Nothing is lost, nothing is doubled: everything between a register and the centre's database is killed in turn.

    guet bench chaos --json FILE [--cluster] [--records 20000] [--seed 1] [--rounds 2]

Real processes: two gateways (`guet run`, reading simulated devices over Modbus TCP), one NATS node or a cluster of three
with every stream on three disks, two ingesters (`guet central run`), PostgreSQL. In each round, in an order that the seed
decides:

    gateway, ingester, broker, database   kill -9, and started again after a while
    network     a relay between gateway and broker holds what is under way, loses it, and refuses connections
    disk        the gateway's writes fail, at any place of any file (RLIMIT_FSIZE of the running process is set to nothing,
                which needs no root and no file system of its own; SQLite meets EFBIG instead of ENOSPC)
    log         the same relay as for `network`, between ingesters and broker
    centre      the database's writes fail in the same way; PostgreSQL, which cannot write its journal, ends, and is
                started again once there is room

What was sent is read from the gateways' own disks, what was stored is counted from the centre's rows: neither is asked what
it believes. `lost`: numbers given out on a gateway's disk that are neither stored, nor declared as dropped, nor still
waiting; `duplicated`: stored twice; `garbled`: summaries or alerts that the centre holds otherwise than the gateway does;
`reordered_alerts`: alert records committed later than one with a higher number. kill -9 is no loss of power: what the
kernel had in hand survives it. A reading that a killed gateway had not committed (a second's worth at most) was never
given a number.
"""

from __future__ import annotations

import asyncio
import json
import random
import resource
import sqlite3
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT)]

import psycopg  # noqa: E402

from central.broker import Broker, cluster  # noqa: E402
from central.database import Database  # noqa: E402
from central.status import report  # noqa: E402
from gateway.clock import ScaledClock  # noqa: E402
from simulator.cut import Cut  # noqa: E402
from simulator.modbus import Device, Table, TcpServer  # noqa: E402
from simulator.process import GatewayProcess  # noqa: E402

GATEWAYS = 2
DEVICES = 20
SPEED = 20.0
"""Site time against real time: a device is read twenty times a second, a period of summaries is half a second."""
NO_VALUE = 0x7FFF
FAULTS = ("gateway", "ingester", "broker", "database", "network", "disk", "log", "centre")
PROGRESS_WITHIN_S = 120.0
DRAINED_WITHIN_S = 60.0

PROFILE = """
maker = "Guet"
model = "chaos"
kind = "energy_meter"
protocol = "modbus"
source = "made up for the bench, tests/bench/chaos.py"
evidence = "source"
every = "1s"
[[point]]
name = "count"
title = "count"
unit = "1"
personal = "no"
register = "holding"
address = 0
type = "i16"
sentinels = [0x7FFF]
[[example]]
source = "two's complement"
point = "count"
raw = "00 07"
value = 7
"""


def run(records: int = 20_000, rounds: int = 2, seed: int = 1, cluster: bool = False, keep: str = "") -> dict[str, Any]:
    """records: that the centre holds in the end, at least; rounds: of all six faults; keep: an empty folder for everything
    that is otherwise thrown away, logs and disks."""
    if records < 100 or rounds < 1:
        raise SystemExit("bench chaos: expected --records from 100, --rounds from 1")
    if keep:
        return asyncio.run(Chaos(Path(keep).absolute(), records, rounds, seed, cluster).run())
    with tempfile.TemporaryDirectory(prefix="guet-chaos-") as folder:
        return asyncio.run(Chaos(Path(folder), records, rounds, seed, cluster).run())


class Field:
    """Devices of one gateway. They count, and each says for a while now and then that it has no value: that makes alerts."""

    def __init__(self, chance: random.Random) -> None:
        self.cells = [{0: number} for number in range(DEVICES)]
        units = [Device(number + 1, Table({"holding": cells}), 0.0) for number, cells in enumerate(self.cells)]
        self.server = TcpServer("127.0.0.1", 0, units)
        self._chance = chance

    async def live(self) -> None:
        """For ever."""
        back = [0.0] * DEVICES
        while True:
            now_s = time.monotonic()
            for number, cells in enumerate(self.cells):
                if now_s < back[number]:
                    continue
                if now_s > back[number] + 4.0 and self._chance.random() < 0.02:
                    back[number] = now_s + 6.0
                    cells[0] = NO_VALUE
                else:
                    cells[0] = (0 if cells[0] == NO_VALUE else cells[0]) + 1 & 0xFFF
            await asyncio.sleep(0.1)


class Ingester:
    """`guet central run` beside a broker and a database that are there already."""

    def __init__(self, folder: Path, number: int, nats_urls: str, replicas: int, database_url: str) -> None:
        self._log = folder / f"ingester-{number}.log"
        log = ["--nats", nats_urls, "--replicas", str(replicas)]
        self._arguments = ["central", "run", *log, "--database", database_url]
        self._process: asyncio.subprocess.Process | None = None

    async def start(self) -> None:
        with self._log.open("ab") as log:
            self._process = await asyncio.create_subprocess_exec(
                sys.executable, "-m", "gateway.cli", *self._arguments, stdout=log, stderr=log
            )

    async def kill(self) -> None:
        if self._process is not None and self._process.returncode is None:
            self._process.kill()
            await self._process.wait()


class Chaos:
    """One run."""

    def __init__(self, folder: Path, records: int, rounds: int, seed: int, cluster: bool) -> None:
        self.folder, self.records, self.rounds, self.seed = folder, records, rounds, seed
        self.clustered = cluster
        self.chance = random.Random(seed)
        self.clock = ScaledClock(time.time() // 3600 * 3600, time.monotonic(), SPEED)
        self.happened: Counter[str] = Counter()
        self.began_s = time.monotonic()
        self.gateways: list[GatewayProcess] = []
        self.ingesters: list[Ingester] = []
        self.brokers: list[Broker] = []
        self.ways: list[Cut] = []
        self.logs: list[Cut] = []

    async def run(self) -> dict[str, Any]:
        async with AsyncExitStack() as stack:
            self.database = await stack.enter_async_context(Database(self.folder / "centre"))
            if self.clustered:
                self.brokers = await stack.enter_async_context(cluster(self.folder / "nats"))
            else:
                self.brokers = [await stack.enter_async_context(Broker(self.folder / "nats"))]
            self.logs = [await stack.enter_async_context(Cut(broker.nats_port)) for broker in self.brokers]
            urls = ",".join(f"nats://127.0.0.1:{way.port}" for way in self.logs)
            for number in range(2):
                ingester = Ingester(self.folder, number, urls, len(self.brokers), self.database.url)
                self.ingesters.append(ingester)
                stack.push_async_callback(ingester.kill)
                await ingester.start()
            async with asyncio.TaskGroup() as tasks:
                living = []
                for number in range(GATEWAYS):
                    field = Field(random.Random(self.seed * 100 + number))
                    await stack.enter_async_context(field.server)
                    living.append(tasks.create_task(field.live()))
                    broker = self.brokers[number % len(self.brokers)]
                    way = await stack.enter_async_context(Cut(broker.mqtt_port))
                    self.ways.append(way)
                    gateway = self._gateway(number, field.server.port, way.port)
                    self.gateways.append(await stack.enter_async_context(gateway))
                await self._play()
                await self._drain()
                for task in living:
                    task.cancel()
            return await asyncio.to_thread(self._account)

    def _gateway(self, number: int, field_port: int, broker_port: int) -> GatewayProcess:
        folder = self.folder / f"chaos-{number + 1}"
        (folder / "device_profiles" / "bench").mkdir(parents=True)
        (folder / "device_profiles" / "bench" / "chaos.toml").write_text(PROFILE, encoding="utf-8")
        site = (
            f'[upstream]\nurl = "mqtt://127.0.0.1:{broker_port}"\nreadings = true\n'
            f'[[bus]]\nname = "field"\nprotocol = "modbus-tcp"\nhost = "127.0.0.1"\nport = {field_port}\n'
            f'[gateway]\nid = "{folder.name}"\ncommune = "Banc"\ntimezone = "Europe/Paris"\nlatitude = 47.2\n'
            "longitude = 6.0\n"
        )
        devices = [
            f'[[device]]\nname = "d{at}"\nprofile = "bench/chaos"\nbus = "field"\naddress = {at + 1}\n'
            for at in range(DEVICES)
        ]
        (folder / "site.toml").write_text("".join([site, 'summary = "10s"\n', *devices]), encoding="utf-8")
        quiet = f'summary = "1h"\n{devices[0]}every = "1h"\n'
        (folder / "quiet.toml").write_text(site + quiet, encoding="utf-8")
        return GatewayProcess(folder, folder / "site.toml", self.clock, home=folder)

    # -- what happens --------------------------------------------------------------------------------------------------

    async def _play(self) -> None:
        faults = [fault for _ in range(self.rounds) for fault in self.chance.sample(FAULTS, len(FAULTS))]
        for number, fault in enumerate(faults):
            await self._stored(self.records * (number + 1) // (len(faults) + 1))
            self._tell(fault)
            await self._fault(fault)
            self.happened[fault] += 1
            await asyncio.sleep(self.chance.uniform(0.5, 1.5))
        await self._stored(self.records)

    async def _stored(self, wanted: int) -> None:
        """Waits until the centre holds so many records."""
        until_s = time.monotonic() + PROGRESS_WITHIN_S
        while (held := await asyncio.to_thread(stored_rows, self.database.url)) < wanted:
            if time.monotonic() > until_s:
                raise RuntimeError(
                    f"after {PROGRESS_WITHIN_S:.0f} s the centre holds {held} of {wanted} records\n{self._logs()}"
                )
            await asyncio.sleep(0.1)

    async def _fault(self, fault: str) -> None:
        away_s = self.chance.uniform(0.2, 2.0)
        match fault:
            case "gateway":
                gateway = self.chance.choice(self.gateways)
                await self._again(gateway.kill, away_s, gateway.start)
            case "ingester":
                ingester = self.chance.choice(self.ingesters)
                await self._again(ingester.kill, away_s, ingester.start)
            case "broker":
                await self._kill_broker(away_s)
            case "database":
                await self._again(_threaded(self.database.kill), away_s, _threaded(self.database.start))
            case "network":
                await self._cut_off([self.chance.choice(self.ways)], away_s)
            case "log":
                await self._cut_off(self.logs, away_s)
            case "centre":
                await self._fill_database(away_s)
            case "disk":
                await self._fill_disk(self.chance.choice(self.gateways), away_s)

    async def _kill_broker(self, away_s: float) -> None:
        """Of a cluster, the node that a gateway is connected to; the relay then leads to another, as a name with several
        addresses or a load balancer does, and work goes on without that node for a while."""
        way = self.chance.choice(self.ways)
        broker = next(one for one in self.brokers if one.mqtt_port == way.target)
        await asyncio.to_thread(broker.kill)
        if len(self.brokers) > 1:
            for one in self.ways:
                if one.target == broker.mqtt_port:
                    one.target = self.chance.choice([left for left in self.brokers if left is not broker]).mqtt_port
            held = await asyncio.to_thread(stored_rows, self.database.url)
            await self._stored(held + self.records // 20)
        await asyncio.sleep(away_s)
        await asyncio.to_thread(broker.start)

    @staticmethod
    async def _fill_disk(gateway: GatewayProcess, for_s: float) -> None:
        """Raises RuntimeError where that did not keep the gateway from writing: then nothing was proved."""
        assert gateway.pid is not None
        _, most = resource.prlimit(gateway.pid, resource.RLIMIT_FSIZE)
        resource.prlimit(gateway.pid, resource.RLIMIT_FSIZE, (0, most))
        await asyncio.sleep(0.2)
        before = on_disk(gateway.folder).last
        await asyncio.sleep(for_s)
        after = on_disk(gateway.folder).last
        resource.prlimit(gateway.pid, resource.RLIMIT_FSIZE, (most, most))
        if after != before:
            raise RuntimeError(f"expected a full disk to take nothing, got {after - before} records")

    @staticmethod
    async def _cut_off(ways: list[Cut], for_s: float) -> None:
        for way in ways:
            way.hold()
        await asyncio.sleep(for_s / 2)
        for way in ways:
            await way.cut()
        await asyncio.sleep(for_s / 2)
        for way in ways:
            await way.mend()

    async def _fill_database(self, for_s: float) -> None:
        """Raises RuntimeError where that did not keep it from writing."""
        await asyncio.to_thread(self.database.limit_files, "0")
        await asyncio.sleep(0.3)
        before = await asyncio.to_thread(_stored_or, self.database.url, None)
        await asyncio.sleep(for_s)
        after = await asyncio.to_thread(_stored_or, self.database.url, before)
        await asyncio.to_thread(self.database.limit_files, "unlimited")
        if before is not None and after != before:
            raise RuntimeError(f"expected a full disk to take nothing, got {before} and then {after} records")
        await asyncio.sleep(0.5)
        if not self.database.running:
            await asyncio.to_thread(self.database.start)

    @staticmethod
    async def _again(end: Callable[[], Awaitable[None]], away_s: float, begin: Callable[[], Awaitable[None]]) -> None:
        await end()
        await asyncio.sleep(away_s)
        await begin()

    async def _drain(self) -> None:
        """Ends the gateways; what they have left then goes by the same command, with nothing more to read."""
        self._tell("drain")
        await asyncio.gather(*(gateway.end() for gateway in self.gateways))
        until_s = time.monotonic() + DRAINED_WITHIN_S
        for gateway in self.gateways:
            while on_disk(gateway.folder).waiting and time.monotonic() < until_s:
                quiet = GatewayProcess(gateway.folder, gateway.folder / "quiet.toml", self.clock, home=gateway.folder)
                async with quiet:
                    while on_disk(gateway.folder).waiting and time.monotonic() < until_s and quiet.pid:
                        await asyncio.sleep(0.2)

    def _tell(self, what: str) -> None:
        sys.stderr.write(f"{time.monotonic() - self.began_s:6.1f} s  {what}\n")

    def _logs(self) -> str:
        return "".join(
            f"{path.name}:\n{path.read_text(errors='replace')[-1500:]}\n" for path in self.folder.rglob("*.log")
        )

    def _account(self) -> dict[str, Any]:
        found = account({gateway.folder.name: on_disk(gateway.folder) for gateway in self.gateways}, self.database.url)
        return found | {
            "faults": dict(sorted(self.happened.items())),
            "nodes": len(self.brokers),
            "seed": self.seed,
            "seconds": round(time.monotonic() - self.began_s, 1),
        }


def account(disks: Mapping[str, Disk], database_url: str) -> dict[str, Any]:
    """What became of everything that those gateways ever gave a number to; disks: by gateway id."""
    lost = duplicated = stored = waiting = garbled = reordered = alerts = 0
    with psycopg.connect(database_url) as centre:
        for name, disk in disks.items():
            which = "from record where gateway = %s and epoch = %s", (name, disk.epoch)
            held = [seq for (seq,) in centre.execute("select seq " + which[0], which[1])]
            runs = "jsonb_array_elements(body->'seqs') as run where gateway = %s and epoch = %s and kind = 'gap'"
            declared = centre.execute(
                "select (run->>0)::bigint, (run->>1)::bigint from record, " + runs, (name, disk.epoch)
            )
            gone = {seq for first, last in declared for seq in range(first, last + 1)}
            stored += len(set(held))
            duplicated += len(held) - len(set(held))
            lost += len(set(range(1, disk.last + 1)) - set(held) - gone - disk.waiting)
            waiting += len(disk.waiting)
            told = centre.execute(
                f"select time, body->>'device', body->'points' {which[0]} and kind = 'summary'", which[1]
            )
            garbled += len(
                disk.summaries - {(round(at.timestamp()), of, json.dumps(points)) for at, of, points in told}
            )
            standing = centre.execute("select id, body from alert where gateway = %s", (name,))
            there = {key: json.dumps(body, sort_keys=True) for key, body in standing}
            garbled += sum(there.get(key) != body for key, body in disk.alerts.items())
            alerts += len(disk.alerts)
            came = centre.execute(
                f"select received {which[0]} and kind = 'alert' order by seq desc", which[1]
            ).fetchall()
            earliest = [min(row for (row,) in came[: at + 1]) for at in range(len(came))]
            reordered += sum(received > before for (received,), before in zip(came[1:], earliest, strict=False))
    counts = report(database_url)
    wrong = {
        "lost": lost or counts["lost"],
        "duplicated": duplicated or counts["duplicates"],
        "garbled": garbled,
        "waiting": waiting,
    }
    return {
        "missed": [f"{name}: {count}, expected 0" for name, count in wrong.items() if count],
        "sent": sum(disk.last for disk in disks.values()),
        "stored": stored,
        "lost": lost,
        "duplicated": duplicated,
        "garbled": garbled,
        "waiting": waiting,
        "alerts": alerts,
        "reordered_alerts": reordered,
        "gaps": counts["gaps"],
        "declared_dropped": counts["dropped"],
        "redelivered": counts["redelivered"],
        "refused": counts["refused"],
    }


class Disk:
    """What the store of a gateway that does not run (or is not written to) holds."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self.epoch = str(connection.execute("select value from meta where name = 'epoch'").fetchone()[0])
        last = connection.execute("select seq from sqlite_sequence where name = 'outbox'").fetchone()
        self.last = int(last[0]) if last else 0
        self.waiting = {seq for (seq,) in connection.execute("select seq from outbox")}
        self.summaries = {
            (round(start_s), device, json.dumps(json.loads(body)["points"]))
            for start_s, device, body in connection.execute("select start_s, device, body from summary")
        }
        alerts = connection.execute("select id, body from alert")
        self.alerts = {key: json.dumps(json.loads(body), sort_keys=True) for key, body in alerts}


def on_disk(folder: Path) -> Disk:
    """Of the gateway in that folder."""
    connection = sqlite3.connect(f"file:{folder / 'guet-data' / 'store.db'}?mode=ro", uri=True, timeout=10)
    try:
        return Disk(connection)
    finally:
        connection.close()


def stored_rows(database_url: str) -> int:
    """Records that the centre has taken so far."""
    with psycopg.connect(database_url, connect_timeout=10) as connection:
        return int(connection.execute("select coalesce(sum(stored), 0) from epoch").fetchall()[0][0])


def _stored_or(database_url: str, otherwise: int | None) -> int | None:
    """The same; `otherwise` while the database does not answer."""
    try:
        return stored_rows(database_url)
    except psycopg.Error:
        return otherwise


def _threaded(work: Callable[[], None]) -> Callable[[], Awaitable[None]]:
    return lambda: asyncio.to_thread(work)


if __name__ == "__main__":
    print(json.dumps(run(), indent=2))
