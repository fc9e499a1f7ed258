"""A node on a table: its flash in a folder, its pins files, its line a pty, and pymodbus at the other end."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from firmware.tool.build import Signer, build, flash_image, new_key
from firmware.tool.bus import Node, open_line
from firmware.tool.simulate import Board, Wire, install
from firmware.tool.verbs import configuration

LINE = "19200 8N1"  # a pty has no parity
SIGNALS = ("ADC26", "ADC27", "ADC28", "PIN10", "PIN11", "PIN12")


class Rig:
    """`signals` are written before power comes on."""

    def __init__(
        self,
        folder: Path,
        node: str,
        config: Mapping[str, Any] = {},
        version: int = 1,
        patience_s: float = 0.4,
        **signals: int,
    ) -> None:
        self.pem = new_key()
        self.signer = Signer(self.pem)
        self.flash = folder / "flash"
        self.flash.mkdir()
        self._pins = folder / "pins"
        self._pins.mkdir()
        self.log = folder / "log"
        self.heard = folder / "ble"
        self.node = node
        more = {"release_key": self.signer.public.hex(), "self_test_s": 2, **config}
        install(
            flash_image(build(node, version, (1, 1), self.signer), configuration(node, line=LINE, **more)), self.flash
        )
        self._wire = Wire()
        for name, value in signals.items():
            self.set(name, value)
        env = {f"SIM_{name}": str(self._pins / name) for name in SIGNALS if (self._pins / name).exists()}
        env |= {"SIM_UART1": self._wire.near, "SIM_LOG": str(self.log), "SIM_BLE": str(self.heard)}
        self.board = Board(self.flash, env)
        self.client = open_line(self._wire.far, LINE, timeout_s=patience_s, retries=1)

    @property
    def client_tty(self) -> int:
        """The line's other end, for whoever wants to be the client instead of `client`."""
        return self._wire.far_end

    @property
    def service(self) -> Node:
        return Node(self.client, 17)

    def set(self, name: str, value: int) -> None:
        """A new level on a pin or an analogue input, in one step."""
        new = self._pins / f"{name}.new"
        new.write_text(str(value))
        new.rename(self._pins / name)

    def inputs(self, address: int, count: int = 1) -> list[int]:
        answer = self.client.read_input_registers(address, count=count, device_id=17)
        assert not answer.isError(), answer
        return list(answer.registers)

    def write(self, address: int, *values: int) -> None:
        assert not self.client.write_registers(address, list(values), device_id=17).isError()

    def until(self, fact: Callable[[], Any], seconds: float = 15) -> Any:
        """Tends the board until `fact` holds; fails when it does not in time. A node that restarts is silent a while."""
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            self.board.tend()
            try:
                if found := fact():
                    return found
            except Exception:
                if time.monotonic() > end - 1:
                    raise
            time.sleep(0.05)
        raise AssertionError(f"not within {seconds} s; the board said: {self.lines()[-5:]}")

    def answering(self) -> None:
        self.until(lambda: self.inputs(0))

    def power_cut(self) -> None:
        self.board.power_off()
        self.board.power_on()
        self.answering()

    def lines(self) -> list[list[str]]:
        """(milliseconds, what, which, level) of every change of an output."""
        return [line.split() for line in self.log.read_text().splitlines()] if self.log.exists() else []

    def close(self) -> None:
        self.board.power_off()
        self.client.close()
        self._wire.close()


def damage(path: Path) -> None:
    """One bit of a file, as worn flash would."""
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(bytes(data))
