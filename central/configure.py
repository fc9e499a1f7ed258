"""What a centre outside one machine needs, as files: each node's and the ingester's configuration, and every gateway's
certificates with the lines for its site. Run again with more gateways, it adds those and leaves the rest as it is.

    FOLDER/authority/        authority.pem, authority.key, commands.key: keep the keys off the network
    FOLDER/node-1/ ...       nats.conf, certificate.pem, key.pem, authority.pem: to the machine of that node
    FOLDER/ingester/         certificate.pem, key.pem, authority.pem, command: to the machines of the ingesters
    FOLDER/gateways/ID/      certificate.pem, key.pem, authority.pem, commands.pem, upstream.toml: to that gateway
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from central.authority import Authority, place
from central.contract import GATEWAY
from central.errors import CentralError
from central.node import INGESTER, Cluster, Node, Tls

_FILES: Final = Tls(Path("certificate.pem"), Path("key.pem"), Path("authority.pem"))
_SITE_FILES: Final = 'ca = "authority.pem"\ncertificate = "certificate.pem"\nkey = "key.pem"\n'
_COMMAND_KEY: Final = 'command_key = "commands.pem"\n'
_HEAD: Final = """# Written by `guet central configure`, which writes it again when a gateway is added.
# Start here, in this folder: nats-server -c nats.conf          After a change: nats-server --signal reload
"""


@dataclass(frozen=True, slots=True)
class Ports:
    """Of every node: for ingesters, for gateways, for the other nodes."""

    nats: int = 4222
    mqtt: int = 8883
    cluster: int = 6222


def configure(
    folder: Path,
    hosts: Sequence[str],
    gateways: Sequence[str] = (),
    requests: Sequence[Path] = (),
    name: str = "",
    ports: Ports = Ports(),
) -> list[str]:
    """Writes everything. hosts: of the nodes, one or three (or five), each as the others reach it; name: one that leads to
    all of them, for gateways, else they are given the first; gateways: ids to add; requests: certificate requests of
    gateways that made their own key. Gives the ids of all gateways there are now. Raises CentralError with all that is
    wrong, before anything is written."""
    wrong = [f"{one!r}: expected a gateway's id, {GATEWAY.pattern}" for one in gateways if not GATEWAY.fullmatch(one)]
    if INGESTER in gateways:
        wrong.append(f"{INGESTER!r} is the ingester's name; give the gateway another id")
    if len(hosts) not in (1, 3, 5):
        wrong.append(f"expected one node, or three or five, of which most must agree, got {len(hosts)}")
    if len(set(hosts)) < len(hosts):
        wrong.append(f"expected a machine of its own for each node, got {', '.join(hosts)}")
    for host in (*hosts, *([name] if name else [])):
        try:
            place(host)
        except CentralError as error:
            wrong.append(str(error))
    if wrong:
        raise CentralError("\n".join(wrong))
    authority = Authority(folder / "authority")
    for number, host in enumerate(hosts):
        authority.node(folder / f"node-{number + 1}", [host, name] if name else [host])
    authority.gateway(folder / INGESTER, INGESTER)
    for gateway in gateways:
        authority.gateway(folder / "gateways" / gateway, gateway)
    for request in requests:
        _sign(authority, folder, request)
    known = sorted(path.name for path in (folder / "gateways").glob("*") if GATEWAY.fullmatch(path.name))
    reached = name or hosts[0]
    commands = authority.commands()
    for gateway in known:
        (folder / "gateways" / gateway / "commands.pem").write_bytes(commands)
        lines = f'[upstream]\nurl = "mqtts://{reached}:{ports.mqtt}"\n{_SITE_FILES}{_COMMAND_KEY}'
        (folder / "gateways" / gateway / "upstream.toml").write_text(lines, encoding="utf-8")
    for number in range(len(hosts)):
        node = _node(number, hosts, known, ports)
        text = _HEAD + json.dumps(node.configuration(), indent=2) + "\n"
        (folder / f"node-{number + 1}" / "nats.conf").write_text(text, encoding="utf-8")
    urls = ",".join(f"tls://{host}:{ports.nats}" for host in hosts)
    command = f"guet central run --nats {urls} --replicas {min(len(hosts), 3)} --tls . --database postgresql://...\n"
    (folder / INGESTER / "command").write_text(command, encoding="utf-8")
    return known


def _node(number: int, hosts: Sequence[str], gateways: Sequence[str], ports: Ports) -> Node:
    others = tuple(f"{host}:{ports.cluster}" for host in hosts if host != hosts[number])
    return Node(
        folder=Path("jetstream"),
        nats=f"0.0.0.0:{ports.nats}",
        mqtt=f"0.0.0.0:{ports.mqtt}",
        gateways=dict.fromkeys(gateways, ""),
        tls=_FILES,
        inside=_FILES,
        cluster=Cluster(f"node-{number + 1}", f"0.0.0.0:{ports.cluster}", others) if others else None,
    )


def _sign(authority: Authority, folder: Path, request: Path) -> None:
    try:
        gateway, certificate = authority.sign(request.read_bytes())
    except (OSError, CentralError) as error:
        raise CentralError(f"{request}: {error}") from error
    own = folder / "gateways" / gateway
    own.mkdir(parents=True, exist_ok=True)
    (own / "certificate.pem").write_bytes(certificate)
    (own / "authority.pem").write_bytes(authority.certificate_file.read_bytes())
