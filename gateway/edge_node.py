"""A site as a Sparkplug edge node: which devices and metrics it has, and where their values come from."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from random import Random

from gateway import __version__
from gateway.clock import Clock
from gateway.hear import HeardBus
from gateway.live import Live
from gateway.outbox import Outbox
from gateway.poll import PolledBus
from gateway.reading import Quality, Snapshot
from gateway.site import Site, Upstream
from gateway.store import Store
from gateway.upstream.mqtt import Pace
from gateway.upstream.sparkplug import Node, Point, Sample, Type, Value
from gateway.upstream.sparkplug_session import Source, SparkplugLane

VERSION = "Properties/Software Version"
WAITING = "Status/Records Waiting"
TRUSTED = "Status/Time Trusted"
OWN = {VERSION: Point(Type.STRING), WAITING: Point(Type.INT64), TRUSTED: Point(Type.BOOLEAN)}


def group_of(site: Site, upstream: Upstream) -> str:
    """The site's group: its own choice, or its commune in letters that a topic can hold."""
    commune = "".join("-" if letter in "+/#" or letter.isspace() else letter for letter in site.gateway.commune)
    return upstream.sparkplug_group or commune


@dataclass(frozen=True, slots=True)
class EdgeNode:
    """The lane of a site that asks for it."""

    lane: SparkplugLane

    def take(self, snapshot: Snapshot) -> None:
        """What a device said at one instant, as metrics."""
        flaws = snapshot.flaws
        samples = {
            name: Sample(snapshot.time_s, value, flaws[name].quality if name in flaws else Quality.GOOD)
            for name, value in snapshot.values.items()
        }
        self.lane.take(snapshot.device, samples)

    async def run(self) -> None:
        """Until cancelled."""
        await self.lane.run()


def edge_node(
    site: Site,
    upstream: Upstream,
    store: Store,
    clock: Clock,
    live: Live,
    buses: Mapping[str, PolledBus | HeardBus],
    pace: Pace,
    chance: Random | None,
) -> EdgeNode:
    """A site's edge node, ready to run."""
    devices = {
        device.name: {name: Point(Type.DOUBLE, point.unit) for name, point in device.points.items()}
        for device in site.devices.values()
        if device.bus
    }
    node = Node(group_of(site, upstream), site.gateway.id, devices, OWN, upstream.sparkplug_datatypes)
    outbox = Outbox(store)

    def latest(device: str) -> dict[str, Sample]:
        return {name: Sample(r.time_s, r.value, r.quality) for name, r in live.latest[device].items()}

    def here(device: str) -> bool:
        health = buses[site.devices[device].bus].health.get(device)
        return health is not None and health.last_answer_s is not None and health.lost_since_s is None

    def own() -> dict[str, Sample]:
        values: dict[str, Value] = {VERSION: __version__, WAITING: outbox.pending_rows(), TRUSTED: clock.trusted}
        return {name: Sample(clock.now(), value) for name, value in values.items()}

    return EdgeNode(SparkplugLane(store, node, upstream, clock, Source(latest, here, own), pace, chance))
