"""A NATS node as nats-server is told of it: who may come in, what each may say and hear, and which other nodes there are.

Each gateway may publish its own records and hear its own acknowledgements and commands, nothing else; who is not listed is
turned away. A gateway is known by its certificate (the broker takes the name in it for the user), or by a password where
nodes and gateways are one machine's.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

KINDS: Final = ("summary", "alert", "gap", "status", "audit", "reading")
INGESTER: Final = "ingester"
_INGESTER_MAY: Final = {
    "publish": {"allow": ["$JS.API.>", "$JS.ACK.>", "guet.v1.*.ack", "guet.v1.*.cmd"]},
    "subscribe": {"allow": ["_INBOX.>", "guet.v1.>"]},
}


@dataclass(frozen=True, slots=True)
class Tls:
    """PEM files: the node's certificate and key, and the authority that must have signed who comes in."""

    certificate: Path
    key: Path
    authority: Path


@dataclass(frozen=True, slots=True)
class Cluster:
    """A node among others: its name, where it listens for them ("host:port"), and where they listen."""

    name: str
    listen: str
    others: tuple[str, ...]

    @property
    def size(self) -> int:
        return 1 + len(self.others)


@dataclass(frozen=True, slots=True)
class Node:
    """nats, mqtt: "host:port" to listen on; gateways: password by gateway id, empty for who has a certificate; None lets
    everybody in, for one machine's loopback; ingester: its password; tls: of the gateways' listener; inside: of the
    ingesters' and of the other nodes', where they are not on this machine."""

    folder: Path
    nats: str
    mqtt: str
    gateways: Mapping[str, str] | None = None
    ingester: str = ""
    tls: Tls | None = None
    inside: Tls | None = None
    cluster: Cluster | None = None

    def configuration(self) -> dict[str, Any]:
        """What nats-server is told (its configuration language takes JSON)."""
        known = self.gateways
        by_name = known is not None and not self.ingester
        out: dict[str, Any] = {
            "server_name": self.cluster.name if self.cluster else "guet",
            "listen": self.nats,
            "max_payload": 128 * 1024,
            "jetstream": {"store_dir": str(self.folder)},
            "mqtt": {"listen": self.mqtt},
        }
        if self.tls is not None:
            out["mqtt"]["tls"] = _tls(self.tls, by_name)
        if self.inside is not None:
            out["tls"] = _tls(self.inside, by_name)
        if self.cluster is not None:
            # What a node has said it keeps, it has on its disk.
            out["jetstream"]["sync_interval"] = "always"
            out["mqtt"]["stream_replicas"] = min(self.cluster.size, 3)
            out["cluster"] = {
                "name": "guet",
                "listen": self.cluster.listen,
                "routes": [f"nats-route://{other}" for other in self.cluster.others],
                "no_advertise": True,
            }
            if self.inside is not None:
                out["cluster"]["tls"] = _tls(self.inside, by_name=False)
        if known is not None:
            users = [_user(INGESTER, self.ingester, "STANDARD", _INGESTER_MAY)]
            users += [_user(gateway, known[gateway], "MQTT", permissions(gateway)) for gateway in known]
            out["authorization"] = {"users": users}
        return out


def tls_in(folder: Path | None) -> Tls | None:
    """The three files of a folder, as `guet central configure` names them."""
    return None if folder is None else Tls(*(folder / f"{name}.pem" for name in ("certificate", "key", "authority")))


def permissions(gateway: str) -> dict[str, Any]:
    """What a gateway may do: speak for itself, and hear what is meant for it."""
    mine = f"guet.v1.{gateway}"
    return {
        "publish": {"allow": [f"{mine}.{kind}" for kind in KINDS]},
        "subscribe": {"allow": [f"{mine}.ack", f"{mine}.cmd", "$MQTT.sub.>"]},
    }


def _user(name: str, password: str, way: str, may: Mapping[str, Any]) -> dict[str, Any]:
    known = {"user": name, "password": password} if password else {"user": name}
    return {**known, "permissions": may, "allowed_connection_types": [way]}


def _tls(files: Tls, by_name: bool) -> dict[str, Any]:
    return {
        "cert_file": str(files.certificate),
        "key_file": str(files.key),
        "ca_file": str(files.authority),
        # Without a certificate of our authority nobody comes in; with `map`, its name says who it is.
        "verify_and_map" if by_name else "verify": True,
    }
