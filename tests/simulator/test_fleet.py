"""A simulated fleet against a platform on a real socket that answers late, twice and out of order."""

import asyncio
import json
from pathlib import Path
from random import Random

import pytest

from simulator.centre import Centre
from simulator.fleet import Counts, FleetGateway, fleet
from simulator.serve import simulate


async def test_a_fleet_that_is_cut_off_in_one_instant_loses_nothing(tmp_path: Path) -> None:
    async with Centre(Random(3)) as centre:
        url = f"mqtt://127.0.0.1:{centre.port}"
        told = tmp_path / "told.json"
        arguments = ["--fleet", "30", "--records", "12", "--url", url, "--within", "60", "--json", str(told)]
        assert await asyncio.to_thread(simulate, arguments) == 0
    found = json.loads(told.read_text())
    assert (found["acknowledged"], found["waiting"], found["sessions"]) == (720, 0, 60)
    assert found["strange_acknowledgements"] <= centre.counts["forged"]  # some are under way when the wires are cut
    assert len(centre.rows) == 720
    assert not centre.problems
    epochs = {epoch for epoch, _ in centre.rows}
    assert len(epochs) == 30
    assert all((epoch, seq) in centre.rows for epoch in epochs for seq in range(1, 25))


@pytest.mark.parametrize(
    "forged",
    [
        b'{"epoch": "OWN", "from": 5, "to": 9}',
        b'{"epoch": "000000000000", "from": 1, "to": 4}',
        b'{"epoch": "OWN", "from": -1, "to": "all"}',
        b"\0{",
    ],
    ids=["never sent", "of another life", "senseless", "no JSON"],
)
def test_a_forged_acknowledgement_frees_nothing_and_is_counted(forged: bytes) -> None:
    counts = Counts()
    gateway = FleetGateway(0, 1, "127.0.0.1", 1, counts)
    gateway.measure(4, 0.0)
    gateway.acknowledged(forged.replace(b"OWN", gateway.epoch.encode()))
    assert (counts.strange, counts.acknowledged, len(gateway.waiting)) == (1, 0, 4)


async def test_they_do_not_all_come_back_in_one_instant(tmp_path: Path) -> None:
    met: list[float] = []

    async def turn_away(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        met.append(asyncio.get_running_loop().time())
        writer.close()

    server = await asyncio.start_server(turn_away, "127.0.0.1", 0)
    url = f"mqtt://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    told = tmp_path / "told.json"
    arguments = ["--fleet", "50", "--records", "1", "--url", url, "--within", "2", "--json", str(told)]
    assert await asyncio.to_thread(fleet, arguments) == 1
    server.close()
    found = json.loads(told.read_text())
    assert (found["ok"], found["waiting"], found["acknowledged"]) == (False, 100, 0)
    again = sorted(met)[50:]
    assert 50 < len(again) < 400  # each waits longer and longer
    assert again[50] - again[0] > 0.3


@pytest.mark.parametrize(
    "wrong",
    [["--fleet", "0"], ["--fleet", "5", "--url", "mqtt://192.0.2.1"], ["--fleet", "5", "--url", "mqtts://127.0.0.1"]],
)
def test_what_cannot_be_simulated_is_refused(wrong: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        simulate(wrong)
    assert ended.value.code == 2
    assert "--fleet" in capsys.readouterr().err
