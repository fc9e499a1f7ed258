"""The written configurations, tried with a real nats-server: who comes in, what each may say, and a cluster that outlives a
node. The addresses are 127.0.0.1 to 3, all of this machine."""

import asyncio
import socket
import ssl
import stat
import subprocess
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import nats
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from central.broker import Broker, _program, cluster
from central.cli import main
from central.configure import Ports, configure
from central.errors import CentralError
from central.ingest import Log, run_ingester
from central.node import tls_in
from central.status import gateways, report
from gateway.clock import SystemClock
from gateway.site import Upstream
from gateway.store import Store
from gateway.upstream.mqtt import Pace, Uplink
from simulator.cut import Cut
from tests.central.test_delivery import until
from tests.gateway.test_store import NOW_S, a_summary, an_alert

PACE = Pace(resend_s=1.0, retry_s=0.1, retry_max_s=0.3, connect_s=10.0)


def free_ports() -> Ports:
    sockets = [socket.socket() for _ in range(3)]
    for one in sockets:
        one.bind(("127.0.0.1", 0))
    ports = Ports(*(one.getsockname()[1] for one in sockets))
    for one in sockets:
        one.close()
    return ports


@asynccontextmanager
async def running(folder: Path, hosts: list[str]) -> AsyncIterator[list[subprocess.Popen[bytes]]]:
    """The nodes of a folder, as `nats-server -c nats.conf` starts them; on their own loopback address instead of on all."""
    nodes = []
    try:
        for number, host in enumerate(hosts):
            place = folder / f"node-{number + 1}"
            text = (place / "nats.conf").read_text()
            (place / "here.conf").write_text(text.replace("0.0.0.0", host))
            with (place / "log").open("wb") as log:
                command = [str(_program()), "-c", "here.conf"]
                nodes.append(subprocess.Popen(command, cwd=place, stdout=log, stderr=log))
        for number in range(len(hosts)):
            log_file = folder / f"node-{number + 1}" / "log"
            await until(lambda log_file=log_file: b"Server is ready" in log_file.read_bytes())  # type: ignore[misc]
        yield nodes
    finally:
        for node in nodes:
            node.kill()
            node.wait(10)


def upstream(folder: Path, host: str, ports: Ports, who: str = "", authority: str = "") -> Upstream:
    files = {}
    if who:
        files = {"certificate": str(folder / who / "certificate.pem"), "key": str(folder / who / "key.pem")}
    ca = str(folder / (authority or "authority/authority.pem"))
    return Upstream(url=f"mqtts://{host}:{ports.mqtt}", ca=ca, **files)


@asynccontextmanager
async def up(uplink: Uplink) -> AsyncIterator[Uplink]:
    lane = asyncio.create_task(uplink.run())
    try:
        yield uplink
    finally:
        lane.cancel()
        await asyncio.gather(lane, return_exceptions=True)


async def test_one_node_knows_each_gateway_by_its_certificate(tmp_path: Path, database_url: str) -> None:
    folder, ports = tmp_path / "centre", free_ports()
    assert configure(folder, ["127.0.0.1"], ["g1", "g2"], ports=ports) == ["g1", "g2"]
    stranger = tmp_path / "stranger"
    configure(stranger, ["127.0.0.1"], ["g1"])
    stop = asyncio.Event()
    async with (
        running(folder, ["127.0.0.1"]),
        Store.open(tmp_path / "store-1", SystemClock()) as store,
        Store.open(tmp_path / "store-2", SystemClock()) as other,
    ):
        log = Log(f"tls://127.0.0.1:{ports.nats}", 1, tls_in(folder / "ingester"))
        ingester = asyncio.create_task(run_ingester(log, database_url, stop))
        for number in range(20):
            store.add_summary(a_summary(number))
        await store.flush()
        own = upstream(folder, "127.0.0.1", ports, "gateways/g1")
        async with up(Uplink(store, "g1", own, SystemClock(), PACE)) as uplink:
            await until(lambda: uplink.outbox.pending_rows() == 0)
        # Without a certificate, or with one of somebody else's authority, nobody comes in.
        other.put("status", NOW_S, {})
        await other.flush()
        nobody = upstream(folder, "127.0.0.1", ports)
        false = upstream(stranger, "127.0.0.1", ports, "gateways/g1", "../centre/authority/authority.pem")
        for who in (nobody, false):
            async with up(Uplink(other, "g1", who, SystemClock(), PACE)) as uplink:
                await until(lambda uplink=uplink: uplink.trouble != "")  # type: ignore[misc]
                assert uplink.counters.sessions == 0
        # g2 with its own certificate, as g1: it neither hears g1's acknowledgements nor is anything of it stored.
        forger = upstream(folder, "127.0.0.1", ports, "gateways/g2")
        async with up(Uplink(other, "g1", forger, SystemClock(), PACE)) as uplink:
            await until(lambda: "acknowledgements" in uplink.trouble)
        # A gateway's certificate is none for the log, the ingester's none for the gateways' side.
        context = ssl.create_default_context(cafile=str(folder / "authority" / "authority.pem"))
        context.load_cert_chain(folder / "gateways" / "g1" / "certificate.pem", folder / "gateways" / "g1" / "key.pem")
        with pytest.raises(nats.errors.Error):
            await nats.connect(log.urls, tls=context, allow_reconnect=False, error_cb=_quiet)
        async with up(
            Uplink(other, "g2", upstream(folder, "127.0.0.1", ports, "ingester"), SystemClock(), PACE)
        ) as uplink:
            await until(lambda: uplink.trouble != "")
            assert uplink.counters.sessions == 0
        stop.set()
        await ingester
    assert [(one.gateway, one.records, one.refused) for one in gateways(database_url)] == [("g1", 20, 0)]


async def _quiet(_error: Exception) -> None:
    pass


def publish_as(client_id: str, topic: str, folder: Path, ports: Ports) -> None:
    """Publishes at QoS 1 with the certificate in `folder`, and waits for PUBACK."""
    from paho.mqtt import publish

    tls = {
        "ca_certs": str(folder / "authority.pem"),
        "certfile": str(folder / "certificate.pem"),
        "keyfile": str(folder / "key.pem"),
    }
    publish.single(topic, b"{}", 1, hostname="127.0.0.1", port=ports.mqtt, client_id=client_id, tls=tls)


async def test_what_a_gateway_publishes_as_another_never_reaches_the_log(tmp_path: Path, database_url: str) -> None:
    folder, ports = tmp_path / "centre", free_ports()
    configure(folder, ["127.0.0.1"], ["g1", "g2"], ports=ports)
    stop = asyncio.Event()
    async with running(folder, ["127.0.0.1"]):
        log = Log(f"tls://127.0.0.1:{ports.nats}", 1, tls_in(folder / "ingester"))
        ingester = asyncio.create_task(run_ingester(log, database_url, stop))
        client = await nats.connect(log.urls, tls=log.context())

        async def subjects() -> dict[str, int]:
            info = await client.jetstream().stream_info("GUET", subjects_filter="guet.>")
            return info.state.subjects or {}

        async with asyncio.timeout(10):
            while True:
                try:
                    await subjects()
                    break
                except nats.js.errors.NotFoundError:
                    await asyncio.sleep(0.05)
        for topic in ("guet/v1/g1/status", "guet/v1/g2/status", "guet/v1/g2/ack", "guet/v1/g1/cmd", "other"):
            await asyncio.to_thread(publish_as, "x", topic, folder / "gateways" / "g2", ports)
        async with asyncio.timeout(10):
            while await subjects() == {}:
                await asyncio.sleep(0.05)
        assert await subjects() == {"guet.v1.g2.status": 1}
        await client.close()
        stop.set()
        await ingester


async def test_three_nodes_keep_every_record_on_all_and_one_may_die(tmp_path: Path, database_url: str) -> None:
    hosts, ports, folder = ["127.0.0.1", "127.0.0.2", "127.0.0.3"], free_ports(), tmp_path / "centre"
    configure(folder, hosts, ["g1"], name="localhost", ports=ports)
    assert f'url = "mqtts://localhost:{ports.mqtt}"' in (folder / "gateways" / "g1" / "upstream.toml").read_text()
    stop = asyncio.Event()
    async with running(folder, hosts) as nodes, Store.open(tmp_path / "store", SystemClock()) as store:
        urls = ",".join(f"tls://{host}:{ports.nats}" for host in hosts)
        log = Log(urls, 3, tls_in(folder / "ingester"))
        ingester = asyncio.create_task(run_ingester(log, database_url, stop))
        for number in range(300):
            store.add_summary(a_summary(number))
        await store.flush()
        async with up(
            Uplink(store, "g1", upstream(folder, hosts[0], ports, "gateways/g1"), SystemClock(), PACE)
        ) as uplink:
            await until(lambda: uplink.outbox.pending_rows() == 0)
        client = await nats.connect(f"tls://{hosts[1]}:{ports.nats}", tls=log.context())
        for stream in ("GUET", "$MQTT_sess", "$MQTT_msgs"):
            info = await client.jetstream().stream_info(stream)
            assert info.config.num_replicas == 3
            assert info.cluster is not None
            assert len(info.cluster.replicas or []) == 2
        await client.close()
        nodes[0].kill()
        nodes[0].wait(10)
        for number in range(300, 600):
            store.add_summary(a_summary(number))
        await store.decide({}, [an_alert()])
        async with up(
            Uplink(store, "g1", upstream(folder, hosts[2], ports, "gateways/g1"), SystemClock(), PACE)
        ) as uplink:
            await until(lambda: uplink.outbox.pending_rows() == 0, 60)
        stop.set()
        await ingester
    found = report(database_url)
    assert (found["records"], found["lost"], found["duplicates"], found["refused"]) == (601, 0, 0, 0)


async def test_the_node_that_a_gateway_uses_dies_in_the_midst_of_its_backlog(tmp_path: Path, database_url: str) -> None:
    stop = asyncio.Event()
    async with (
        cluster(tmp_path / "nats") as nodes,
        Cut(nodes[0].mqtt_port) as way,
        Store.open(tmp_path / "store", SystemClock()) as store,
    ):
        log = Log(",".join(node.nats_url for node in nodes), 3)
        ingester = asyncio.create_task(run_ingester(log, database_url, stop))
        for number in range(3000):
            store.add_summary(a_summary(number))
        await store.flush()
        pace = Pace(window=200, resend_s=1.0, retry_s=0.1, retry_max_s=0.3, connect_s=10.0)
        async with up(Uplink(store, "g1", Upstream(url=f"mqtt://127.0.0.1:{way.port}"), SystemClock(), pace)) as uplink:
            await until(lambda: report(database_url)["records"] > 300)
            await asyncio.to_thread(nodes[0].kill)
            assert uplink.outbox.pending_rows() > 0
            way.target = nodes[1].mqtt_port
            await until(lambda: uplink.outbox.pending_rows() == 0, 60)
        stop.set()
        await ingester
    found = report(database_url)
    assert (found["records"], found["lost"], found["duplicates"]) == (3000, 0, 0)


def test_a_second_time_adds_gateways_and_leaves_what_there_is(tmp_path: Path) -> None:
    assert main(["configure", str(tmp_path), "--node", "broker.example", "--gateway", "g1"]) == 0
    kept = {path: path.read_bytes() for path in tmp_path.rglob("*.pem")}
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "g3")])
    request = x509.CertificateSigningRequestBuilder().subject_name(name).sign(key, hashes.SHA256())
    (tmp_path / "g3.csr").write_bytes(request.public_bytes(serialization.Encoding.PEM))
    again = ["configure", str(tmp_path), "--node", "broker.example"]
    assert main([*again, "--gateway", "g2", "--request", str(tmp_path / "g3.csr")]) == 0
    assert all(path.read_bytes() == content for path, content in kept.items())
    written = (tmp_path / "node-1" / "nats.conf").read_text()
    assert all(f'"user": "{name}"' in written for name in ("ingester", "g1", "g2", "g3"))
    assert {path.name for path in (tmp_path / "gateways" / "g3").iterdir()} == {
        "certificate.pem",
        "authority.pem",
        "commands.pem",
        "upstream.toml",
    }
    for secret in (
        tmp_path / "authority" / "authority.key",
        tmp_path / "authority" / "commands.key",
        tmp_path / "gateways" / "g1" / "key.pem",
    ):
        assert stat.S_IMODE(secret.stat().st_mode) == 0o600
    signed = x509.load_pem_x509_certificate((tmp_path / "gateways" / "g3" / "certificate.pem").read_bytes())
    assert signed.public_key() == key.public_key()


def test_what_cannot_be_configured_is_said_all_at_once_and_nothing_written(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "centre"
    wrong = ["--node", "a", "--node", "a", "--node", "not a host", "--gateway", "g.1", "--gateway", "ingester"]
    assert main(["configure", str(folder), *wrong]) == 1
    said = capsys.readouterr().err
    assert all(part in said for part in ("'g.1'", "'ingester'", "machine of its own", "'not a host'"))
    assert not folder.exists()
    with pytest.raises(CentralError, match="one node, or three"):
        configure(folder, ["a", "b"])


@pytest.mark.parametrize("name", ["g.1", "ingester/../g1", ""])
def test_a_request_for_a_name_that_is_no_gateways_is_not_signed(tmp_path: Path, name: str) -> None:
    key = ec.generate_private_key(ec.SECP256R1())
    names = [x509.NameAttribute(NameOID.COMMON_NAME, name)] if name else []
    request = x509.CertificateSigningRequestBuilder().subject_name(x509.Name(names)).sign(key, hashes.SHA256())
    (tmp_path / "x.csr").write_bytes(request.public_bytes(serialization.Encoding.PEM))
    with pytest.raises(CentralError, match="common name is a gateway's id"):
        configure(tmp_path / "centre", ["a"], requests=[tmp_path / "x.csr"])
    (tmp_path / "x.csr").write_bytes(b"-----BEGIN")
    with pytest.raises(CentralError, match="certificate request"):
        configure(tmp_path / "centre", ["a"], requests=[tmp_path / "x.csr"])


def test_a_broker_of_one_machine_is_configured_by_the_same_rules(tmp_path: Path) -> None:
    users = Broker(tmp_path, gateways={"g1": "secret"}, ingester="master").configuration()["authorization"]["users"]
    assert [(user["user"], user["password"]) for user in users] == [("ingester", "master"), ("g1", "secret")]
    assert users[1]["permissions"]["publish"]["allow"][0] == "guet.v1.g1.summary"
