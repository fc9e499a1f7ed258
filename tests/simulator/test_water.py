"""The commune's water sector."""

import math

import numpy as np
import pytest

from simulator.water import Burst, Sector, trace_from_inp

START_S = 1_700_006_400.0
WEEK = START_S + np.arange(0, 7 * 86400, 900.0)


def test_any_instant_can_be_asked_in_any_order_and_gives_the_same():
    first, second = Sector(5), Sector(5)
    times = [START_S + 1234.5, START_S + 9 * 86400, START_S + 61.0]
    forward = [(first.metered_flow_m3_h(t), first.sensed_pressure_bar("aval", t)) for t in times]
    backward = [(second.metered_flow_m3_h(t), second.sensed_pressure_bar("aval", t)) for t in reversed(times)]
    assert forward == backward[::-1]
    assert first.metered_flow_m3_h(np.array(times)).tolist() == [flow for flow, _ in forward]


def test_another_seed_is_another_town():
    assert not np.allclose(Sector(1).flow_m3_h(WEEK), Sector(2).flow_m3_h(WEEK), rtol=0.001)


def test_the_sector_is_a_small_town_with_quiet_nights():
    sector = Sector(3)
    flow = sector.flow_m3_h(WEEK)
    assert 50 < flow.mean() < 70
    assert flow.min() < 0.35 * flow.mean()
    assert flow.max() > 1.5 * flow.mean()
    for name in sector.sensors:
        pressure = sector.pressure_bar(name, WEEK)
        assert pressure.min() > 2
        assert pressure.max() < 6


def test_pressure_falls_where_more_is_drawn():
    sector = Sector(3)
    flow, pressure = sector.flow_m3_h(WEEK), sector.pressure_bar("aval", WEEK)
    assert np.corrcoef(flow, pressure)[0, 1] < -0.9


@pytest.mark.parametrize("node", Sector(1).nodes)
def test_what_a_burst_loses_flows_in_and_pressures_fall(node):
    burst = Burst(node, 10.0, START_S + 2 * 86400, START_S + 4 * 86400)
    calm, leaking = Sector(3), Sector(3, [burst])
    more = leaking.flow_m3_h(WEEK) - calm.flow_m3_h(WEEK)
    open_ = (burst.start_s + 60 <= WEEK) & (burst.end_s - 60 > WEEK)
    closed = (burst.start_s - 60 > WEEK) | (burst.end_s + 60 < WEEK)
    assert np.abs(more[closed]).max() < 1e-9
    assert more[open_].mean() == pytest.approx(10.0, rel=0.1)
    np.testing.assert_allclose(more[open_], leaking.leak_m3_h(WEEK)[open_], rtol=0.05)
    drops = [(calm.pressure_bar(s, WEEK) - leaking.pressure_bar(s, WEEK))[open_].mean() for s in calm.sensors]
    assert max(drops) > 0.01


def test_a_crack_grows():
    sector = Sector(3, [Burst("rue-du-moulin", 10.0, START_S, math.inf, growth_s=4 * 86400)])
    loss = sector.leak_m3_h(np.array([START_S + 86400, START_S + 2 * 86400, START_S + 6 * 86400]))
    assert loss[0] < 0.5 * loss[1] < 0.5 * loss[2]


def test_what_devices_measure_has_their_resolution_and_errors():
    sector = Sector(3)
    flow, true = sector.metered_flow_m3_h(WEEK), sector.flow_m3_h(WEEK)
    np.testing.assert_allclose(flow * 100, np.round(flow * 100), atol=1e-6)
    assert (flow / true - 1).std() == pytest.approx(0.005, rel=0.2)
    error = sector.sensed_pressure_bar("haut", WEEK) - sector.pressure_bar("haut", WEEK)
    assert error.std() == pytest.approx(0.003, rel=0.2)


@pytest.mark.parametrize("burst", [Burst("nowhere", 5.0, 0.0), Burst("rue-du-moulin", 500.0, 0.0)])
def test_an_impossible_burst_is_refused(burst):
    with pytest.raises(ValueError, match="burst"):
        Sector(1, [burst])


def test_chance_is_normal_and_independent_of_its_neighbours():
    from simulator.chance import normal, uniform, wander

    draws = normal(7, "test", np.arange(20000))
    assert draws.mean() == pytest.approx(0, abs=0.03)
    assert draws.std() == pytest.approx(1, abs=0.03)
    assert abs(np.corrcoef(draws[:-1], draws[1:])[0, 1]) < 0.03
    assert uniform(7, "test", np.arange(1000)).min() > 0
    assert wander(7, "test", np.arange(0, 3e6, 100.0), 900.0).std() == pytest.approx(1, abs=0.1)


def test_a_network_file_without_wntr_says_what_to_install(tmp_path, monkeypatch):
    import sys

    monkeypatch.setitem(sys.modules, "wntr", None)
    with pytest.raises(ImportError, match=r"guet-edge\[sim\]"):
        trace_from_inp(tmp_path / "town.inp", 1, 24, START_S)


def test_a_network_file_is_simulated_over_its_whole_period(tmp_path):
    wntr = pytest.importorskip("wntr")
    from simulator.networks import random_network

    network = random_network(4, "gravity", 40.0, 40)
    file = tmp_path / "town.inp"
    wntr.network.write_inpfile(network.model, str(file), units="CMH")
    node = network.model.junction_name_list[20]
    calm = trace_from_inp(file, 1, 48, START_S)
    leaking = trace_from_inp(file, 1, 48, START_S, bursts=[Burst(node, 8.0, START_S + 86400)])
    hours = START_S + 3600.0 * np.arange(48)
    more = leaking.flow_m3_h(hours) - calm.flow_m3_h(hours)
    assert np.abs(more[:24]).max() < 0.05
    assert more[25:].mean() == pytest.approx(8.0, rel=0.25)
    with pytest.raises(ValueError, match="junction"):
        trace_from_inp(file, 1, 48, START_S, sensors=["nowhere"])
