"""The durable lane against a real broker (NATS), and against a broker of MQTT 5 on a real socket."""

import asyncio
import json
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import nats
import pytest
from nats.aio.client import Client as Nats

from central.broker import Broker, Tls
from gateway.clock import SystemClock
from gateway.errors import SiteError
from gateway.site import Upstream
from gateway.store import Store
from gateway.upstream.mqtt import Pace, Uplink, server_of
from tests.gateway.test_store import NOW_S, a_summary, an_alert

QUICK = Pace(window=20, urgent=4, resend_s=0.3, retry_s=0.05, retry_max_s=0.2, connect_s=2.0)
PATIENT = Pace(window=20, urgent=4, resend_s=60.0, retry_s=0.05, retry_max_s=0.2, connect_s=2.0)


@pytest.fixture
async def broker(tmp_path: Path) -> AsyncIterator[Broker]:
    async with Broker(tmp_path / "nats") as running:
        yield running


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[Store]:
    async with Store.open(tmp_path / "store", SystemClock()) as opened:
        yield opened


class Platform:
    """Hears what the gateway says, and acknowledges when the test says so."""

    def __init__(self, client: Nats) -> None:
        self.client = client
        self.heard: list[dict[str, object]] = []
        self.news = asyncio.Event()

    @classmethod
    async def listen(cls, broker: Broker) -> "Platform":
        platform = cls(await nats.connect(broker.nats_url, allow_reconnect=False))

        async def hear(message: object) -> None:
            platform.heard.append(json.loads(message.data))  # type: ignore[attr-defined]
            platform.news.set()

        await platform.client.subscribe("guet.v1.*.*", cb=hear)
        await platform.client.flush()
        return platform

    async def until(self, met: Callable[[], bool]) -> None:
        async with asyncio.timeout(15):
            while not met():
                self.news.clear()
                try:
                    async with asyncio.timeout(0.05):
                        await self.news.wait()
                except TimeoutError:
                    pass

    async def say(self, body: object, gateway: str = "g1") -> None:
        payload = body if isinstance(body, bytes) else json.dumps(body).encode()
        await self.client.publish(f"guet.v1.{gateway}.ack", payload)
        await self.client.flush()

    @property
    def seqs(self) -> list[int]:
        return [int(str(body["seq"])) for body in self.heard if "seq" in body]


async def while_up(uplink: Uplink, test: Awaitable[None]) -> None:
    running = asyncio.create_task(uplink.run())
    try:
        await test
        assert not running.done()
    finally:
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
    assert not uplink.connected


def at(broker: Broker) -> Upstream:
    return Upstream(url=broker.mqtt_url)


async def test_a_row_leaves_when_the_platform_says_so_and_not_when_the_broker_does(
    broker: Broker, store: Store
) -> None:
    platform = await Platform.listen(broker)
    for number in range(10):
        store.add_summary(a_summary(number))
    await store.flush()
    uplink = Uplink(store, "g1", at(broker), SystemClock(), PATIENT)

    async def test() -> None:
        await platform.until(lambda: len(platform.heard) == 10)
        await platform.until(lambda: all(flight.at_broker for flight in uplink._flying.values()))
        assert uplink.connected
        assert uplink.outbox.pending_rows() == 10
        assert uplink.last_acknowledged_s is None
        await platform.say({"epoch": store.epoch, "from": 3, "to": 6})
        await platform.until(lambda: uplink.outbox.pending_rows() == 6)
        await platform.say({"epoch": store.epoch, "from": 1, "to": 10})
        await platform.until(lambda: uplink.outbox.pending_rows() == 0)
        assert uplink.last_acknowledged_s is not None
        assert uplink.counters.acknowledged == 10
        assert uplink.counters.refused_acks == 0
        assert uplink.counters.resent == 0
        await store.flush()
        assert store.rows("select count(*) from outbox") == [(0,)]

    await while_up(uplink, test())
    await platform.client.close()


async def test_alerts_overtake_a_full_window(broker: Broker, store: Store) -> None:
    platform = await Platform.listen(broker)
    for number in range(100):
        store.add_summary(a_summary(number))
    await store.flush()
    uplink = Uplink(store, "g1", at(broker), SystemClock(), PATIENT)

    async def test() -> None:
        await platform.until(lambda: len(platform.heard) == 20)
        assert platform.seqs == list(range(100, 80, -1))
        await store.decide({}, [an_alert()])
        await platform.until(lambda: len(platform.heard) == 21)
        assert platform.heard[-1]["kind"] == "alert"
        assert len(uplink._flying) == 21
        store.add_summary(a_summary(101))
        await store.flush()
        await platform.say({"epoch": store.epoch, "from": 90, "to": 101})
        await platform.until(lambda: len(platform.heard) >= 32)
        assert platform.seqs[21] == 102

    await while_up(uplink, test())
    await platform.client.close()


async def test_false_acknowledgements_are_ignored_counted_and_logged(
    broker: Broker, store: Store, caplog: pytest.LogCaptureFixture
) -> None:
    platform = await Platform.listen(broker)
    for number in range(50):
        store.add_summary(a_summary(number))
    await store.flush()
    uplink = Uplink(store, "g1", at(broker), SystemClock(), PATIENT)

    async def test() -> None:
        await platform.until(lambda: len(platform.heard) == 20)  # 50 down to 31
        for number, false in enumerate(
            (
                {"epoch": store.epoch, "from": 1, "to": 30},  # never sent
                {"epoch": store.epoch, "from": 51, "to": 2**63 - 1},  # never made
                {"epoch": "another", "from": 31, "to": 50},
                {"epoch": store.epoch, "from": 50, "to": 31},
                b"\x00\xff",
                b"[" * 5000,
            )
        ):
            await platform.say(false)
            await platform.until(lambda number=number: uplink.counters.refused_acks == number + 1)
        assert uplink.outbox.pending_rows() == 50
        assert "1 to 30 includes records never sent; those stay (1 so far)" in caplog.text
        # A range that is true in part takes that part.
        await platform.say({"epoch": store.epoch, "from": 20, "to": 32})
        await platform.until(lambda: uplink.outbox.pending_rows() == 48)
        assert uplink.counters.refused_acks == 7
        # To hear the same twice is nothing special.
        await platform.say({"epoch": store.epoch, "from": 31, "to": 32})
        await platform.say({"epoch": store.epoch, "from": 40, "to": 40})
        await platform.until(lambda: uplink.outbox.pending_rows() == 47)
        assert uplink.counters.refused_acks == 7
        # What is for another gateway is not heard at all.
        await platform.say({"epoch": store.epoch, "from": 1, "to": 50}, gateway="g2")
        assert uplink.outbox.pending_rows() == 47

    await while_up(uplink, test())
    await platform.client.close()


async def test_what_is_not_acknowledged_is_sent_again(broker: Broker, store: Store) -> None:
    platform = await Platform.listen(broker)
    for number in range(5):
        store.add_summary(a_summary(number))
    await store.flush()
    uplink = Uplink(store, "g1", at(broker), SystemClock(), QUICK)

    async def test() -> None:
        await platform.until(lambda: all(platform.seqs.count(seq) >= 2 for seq in range(1, 6)))
        await platform.say({"epoch": store.epoch, "from": 1, "to": 5})
        await platform.until(lambda: uplink.outbox.pending_rows() == 0)
        assert uplink.counters.sent == 5
        assert uplink.counters.resent >= 5
        assert uplink.counters.acknowledged == 5

    await while_up(uplink, test())
    await platform.client.close()


async def test_after_the_broker_died_everything_goes_out_again(broker: Broker, store: Store) -> None:
    for number in range(30):
        store.add_summary(a_summary(number))
    await store.flush()
    uplink = Uplink(store, "g1", at(broker), SystemClock(), QUICK)

    async def test() -> None:
        platform = await Platform.listen(broker)
        await platform.until(lambda: len(platform.heard) >= 20)
        await asyncio.to_thread(broker.kill)
        await platform.until(lambda: not uplink.connected)
        await platform.client.close()
        await store.decide({}, [an_alert()])
        assert uplink.trouble != ""
        await asyncio.to_thread(broker.start)
        platform = await Platform.listen(broker)
        while uplink.outbox.pending_rows():
            await platform.until(lambda: bool(platform.seqs))
            for seq in platform.seqs:
                await platform.say({"epoch": store.epoch, "from": seq, "to": seq})
            await asyncio.sleep(0.05)
        assert uplink.counters.sessions == 2
        assert uplink.trouble == ""
        assert uplink.counters.acknowledged == 31
        await platform.client.close()

    await while_up(uplink, test())


async def test_without_a_broker_the_outbox_waits(store: Store) -> None:
    store.add_summary(a_summary(1))
    uplink = Uplink(store, "g1", Upstream(url="mqtt://127.0.0.1:9"), SystemClock(), QUICK)

    async def test() -> None:
        async with asyncio.timeout(10):
            while not uplink.trouble:
                await asyncio.sleep(0.01)
        await store.flush()
        assert uplink.outbox.pending_rows() == 1

    await while_up(uplink, test())


async def test_a_gateway_can_neither_speak_nor_hear_as_another(tmp_path: Path, store: Store) -> None:
    async with Broker(tmp_path / "nats", gateways={"g1": "secret-1", "g2": "secret-2"}, ingester="master") as broker:
        (tmp_path / "password").write_text("secret-1\n")
        platform = await Platform.listen(broker)
        mine = Upstream(url=broker.mqtt_url, user="g1", password_file=str(tmp_path / "password"))
        store.put("status", NOW_S, {})
        await store.flush()
        # As g2 with the password of g1: the broker takes its messages and drops them; it may not hear acknowledgements.
        forger = Uplink(store, "g2", mine, SystemClock(), QUICK)

        async def refused() -> None:
            await platform.until(lambda: "acknowledgements" in forger.trouble)

        await while_up(forger, refused())
        honest = Uplink(store, "g1", mine, SystemClock(), QUICK)

        async def taken() -> None:
            await platform.until(lambda: platform.seqs == [1])
            assert platform.heard[0]["gateway"] == "g1"

        await while_up(honest, taken())
        (tmp_path / "password").write_text("wrong")
        stranger = Uplink(store, "g1", mine, SystemClock(), QUICK)

        async def turned_away() -> None:
            await platform.until(lambda: "Not authorized" in stranger.trouble or "Bad user" in stranger.trouble)

        await while_up(stranger, turned_away())
        await platform.client.close()


# -- TLS ---------------------------------------------------------------------------------------------------------------


def certificates(folder: Path) -> None:
    """An authority, a broker's and a gateway's certificate, and one of a stranger's authority."""
    import datetime
    import ipaddress

    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec
    from cryptography.x509.oid import NameOID

    start = datetime.datetime.now(datetime.UTC) - datetime.timedelta(hours=1)

    def make(
        name: str, signer: tuple[x509.Name, ec.EllipticCurvePrivateKey] | None
    ) -> tuple[x509.Name, ec.EllipticCurvePrivateKey]:
        key = ec.generate_private_key(ec.SECP256R1())
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        issuer, by = signer or (subject, key)
        names = x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))])
        made = (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(issuer)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(start)
            .not_valid_after(start + datetime.timedelta(days=2))
            .add_extension(x509.BasicConstraints(ca=signer is None, path_length=None), critical=True)
            .add_extension(names, critical=False)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
            .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(by.public_key()), critical=False)
            .sign(by, hashes.SHA256())
        )
        (folder / f"{name}.pem").write_bytes(made.public_bytes(serialization.Encoding.PEM))
        plain = serialization.NoEncryption()
        pem, form = serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8
        (folder / f"{name}.key").write_bytes(key.private_bytes(pem, form, plain))
        return subject, key

    authority = make("authority", None)
    make("broker", authority)
    make("gateway", authority)
    make("stranger", make("other-authority", None))


async def test_over_tls_both_sides_show_who_they_are(tmp_path: Path, store: Store) -> None:
    certificates(tmp_path)

    def secure(url: str, who: str, authority: str = "authority") -> Upstream:
        files = {"ca": f"{authority}.pem", "certificate": f"{who}.pem", "key": f"{who}.key"}
        return Upstream(url=url, **{name: str(tmp_path / file) for name, file in files.items()})

    tls = Tls(tmp_path / "broker.pem", tmp_path / "broker.key", tmp_path / "authority.pem")
    async with Broker(tmp_path / "nats", tls=tls) as broker:
        assert broker.mqtt_url.startswith("mqtts://")
        platform = await Platform.listen(broker)
        for number in range(200):
            store.add_summary(a_summary(number))
        await store.flush()
        for who, authority in (("stranger", "authority"), ("gateway", "other-authority")):
            turned_away = Uplink(store, "g1", secure(broker.mqtt_url, who, authority), SystemClock(), QUICK)

            async def refused(uplink: Uplink = turned_away) -> None:
                await platform.until(lambda: uplink.trouble != "")

            await while_up(turned_away, refused())
            assert platform.heard == []
        uplink = Uplink(store, "g1", secure(broker.mqtt_url, "gateway"), SystemClock(), PATIENT)

        async def taken() -> None:
            acknowledged: set[int] = set()
            while len(acknowledged) < 200:
                await platform.until(lambda: bool(set(platform.seqs) - acknowledged))
                for seq in set(platform.seqs) - acknowledged:
                    await platform.say({"epoch": store.epoch, "from": seq, "to": seq})
                    acknowledged.add(seq)
            await platform.until(lambda: uplink.outbox.pending_rows() == 0)

        await while_up(uplink, taken())
        await platform.client.close()


@pytest.mark.parametrize("url", ["mqtt://192.0.2.1", "mqtt://broker.example:1883", "http://127.0.0.1", "mqtts://"])
def test_plain_mqtt_leaves_this_machine_never(url: str) -> None:
    with pytest.raises(SiteError, match=r"\[upstream\] url: expected 'mqtts://"):
        server_of(Upstream.model_construct(url=url))


def test_certificates_that_cannot_be_read_are_named(tmp_path: Path) -> None:
    with pytest.raises(SiteError, match=r"nowhere\.pem"):
        server_of(Upstream(url="mqtts://broker.example", ca=str(tmp_path / "nowhere.pem")))
    host, port, context = server_of(Upstream(url="mqtts://broker.example"))
    assert (host, port) == ("broker.example", 8883)
    assert context is not None
    assert context.verify_mode is ssl.CERT_REQUIRED
    assert context.check_hostname


# -- MQTT 5 ------------------------------------------------------------------------------------------------------------


class Broker5:
    """A broker of MQTT 5 that answers each PUBLISH with the reasons it was given, then with success (OASIS MQTT 5.0,
    sections 3.2 to 3.4)."""

    def __init__(self, reasons: list[int]) -> None:
        self.reasons, self.published = reasons, list[bytes]()

    async def __aenter__(self) -> int:
        self.server = await asyncio.start_server(self.serve, "127.0.0.1", 0)
        return int(self.server.sockets[0].getsockname()[1])

    async def __aexit__(self, *_: object) -> None:
        self.server.close()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while True:
                kind = (await reader.readexactly(1))[0]
                length = shift = 0
                while True:
                    byte = (await reader.readexactly(1))[0]
                    length |= (byte & 0x7F) << shift
                    shift += 7
                    if not byte & 0x80:
                        break
                packet = await reader.readexactly(length)
                if kind == 0x10:
                    assert packet[6] == 5  # protocol level
                    writer.write(bytes([0x20, 3, 0, 0, 0]))
                elif kind & 0xF0 == 0x30:
                    assert kind & 0x06 == 0x02  # QoS 1
                    name = int.from_bytes(packet[:2], "big")
                    mid = packet[2 + name : 4 + name]
                    self.published.append(packet[5 + name :])
                    reason = self.reasons.pop(0) if self.reasons else 0
                    writer.write(bytes([0x40, 3]) + mid + bytes([reason]))
                elif kind == 0xC0:
                    writer.write(bytes([0xD0, 0]))
                await writer.drain()
        except (asyncio.IncompleteReadError, ConnectionError):
            writer.close()


@pytest.mark.parametrize(
    "said",
    [
        b"",
        b"\x00" * 50,
        b"\xff" * 50,
        b"\x20\x02\x00\x05",
        b"\x20\x02\x00\x00" + bytes(range(256)),
        b"HTTP/1.1 400 Bad\r\n\r\n",
    ],
    ids=["nothing", "zeros", "ones", "refusal", "noise after CONNACK", "a web server"],
)
async def test_whatever_answers_at_the_brokers_address_the_lane_tries_on(store: Store, said: bytes) -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await reader.read(100)
            writer.write(said)
            await writer.drain()
            await reader.read(100)  # until the other side has had enough
        finally:
            writer.close()

    store.put("status", NOW_S, {})
    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    uplink = Uplink(store, "g1", Upstream(url=f"mqtt://127.0.0.1:{port}"), SystemClock(), QUICK)

    async def test() -> None:
        async with asyncio.timeout(15):
            while not uplink.trouble:
                await asyncio.sleep(0.02)
        await store.flush()
        assert uplink.outbox.pending_rows() == 1

    await while_up(uplink, test())
    server.close()
    await server.wait_closed()


async def test_with_ack_broker_a_puback_without_subscribers_is_no_delivery(store: Store) -> None:
    store.put("status", NOW_S, {"n": 1})
    store.put("status", NOW_S, {"n": 2})
    await store.flush()
    broker = Broker5([0x00, 0x10, 0x10, 0x97])  # success, twice no matching subscribers, quota exceeded
    async with broker as port:
        uplink = Uplink(store, "g1", Upstream(url=f"mqtt://127.0.0.1:{port}", ack="broker"), SystemClock(), QUICK)

        async def test() -> None:
            async with asyncio.timeout(15):
                while uplink.outbox.pending_rows():
                    await asyncio.sleep(0.02)

        await while_up(uplink, test())
    assert uplink.counters.undelivered == 3
    assert uplink.counters.acknowledged == 2
    assert [json.loads(body)["seq"] for body in broker.published] == [2, 1, 1, 1, 1]
