"""Golden examples on what a gateway may be and this machine is not: an ARM core (emulated), and tflite-runtime.

`tests/models/elsewhere/set_up.sh` makes both available, in build/elsewhere. CI runs it first; elsewhere these tests say
so and are skipped without it.
"""

import json
import os
import shutil
import subprocess
from pathlib import Path

import pytest

from gateway.inference import CARD, load_card, load_model

HERE = Path(__file__).parent / "elsewhere"
ROOT = Path(__file__).parents[2]
MADE = ROOT / "build/elsewhere"
FOLDERS = sorted(file.parent for file in ROOT.glob("edge_models/*/model.tflite"))
NAMES = [folder.name for folder in FOLDERS]
CORES = ("cortex-a53", "cortex-a72")
"""Of a Raspberry Pi 3 and 4. Without naming one, qemu 7 offers what it computes wrongly."""

MOST_APART = 4
"""Steps of an int8 output by which other kernels may differ."""

pytestmark = [pytest.mark.timeout(600), pytest.mark.xdist_group("elsewhere")]


def needed(what):
    if not (MADE / ".whole").exists():
        asked = f"{what} not tested: run tests/models/elsewhere/set_up.sh first"
        if os.environ.get("CI"):
            pytest.fail(asked)
        pytest.skip(asked)


def golden(command, env):
    arguments = [*command, str(HERE / "golden.py"), *map(str, FOLDERS)]
    done = subprocess.run(arguments, env=env, capture_output=True, text=True, timeout=500, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    return json.loads(done.stdout)


@pytest.fixture(scope="module", params=CORES)
def on_arm(request):
    needed("arm64")
    env = {
        "QEMU_CPU": request.param,
        "QEMU_LD_PREFIX": str(MADE / "arm64"),
        "PYTHONPATH": str(MADE / "litert-arm64"),
        "PYTHONDONTWRITEBYTECODE": "1",
    }
    return golden(["qemu-aarch64-static", str(MADE / "arm64/usr/bin/python3.11"), "-S"], env)


@pytest.fixture(scope="module")
def on_tflite():
    needed("tflite-runtime")
    python = shutil.which("python3.11")
    if python is None:
        pytest.skip("tflite-runtime not tested: it is built for Python 3.11, which is not here")
    return golden([python, "-S"], {"PYTHONPATH": str(MADE / "tflite"), "PYTHONDONTWRITEBYTECODE": "1"})


def stored(name):
    return json.loads((ROOT / "edge_models" / name / "example.json").read_text(encoding="utf-8"))["outputs"]


def test_every_folder_with_a_network_is_compared():
    cards = {file.parent.name: load_card(file) for file in ROOT.glob(f"edge_models/*/{CARD}")}
    assert sorted(name for name, card in cards.items() if card.model is not None) == NAMES
    assert NAMES


@pytest.mark.parametrize("name", NAMES)
def test_outputs_on_arm_are_the_same_bytes(on_arm, name):
    assert on_arm[name]["runtime"] == "ai_edge_litert"
    assert on_arm[name]["outputs"] == stored(name)


@pytest.mark.parametrize("name", NAMES)
def test_arm_computes_with_the_delegate(on_arm, name):
    assert on_arm[name]["delegated"] > 0


@pytest.mark.parametrize("name", NAMES)
def test_tflite_runtime_gives_the_same_decisions_within_four_steps(on_tflite, name):
    found, wanted = on_tflite[name], stored(name)
    threshold = load_model(ROOT / "edge_models" / name).decision.threshold
    scale, zero = found["quantisation"]
    assert found["runtime"] == "tflite_runtime"
    assert max(abs(a - b) for a, b in zip(found["outputs"], wanted, strict=True)) <= MOST_APART
    over = [(raw - zero) * scale >= threshold for raw in wanted]
    assert any(over)
    assert not all(over)
    assert [(raw - zero) * scale >= threshold for raw in found["outputs"]] == over
