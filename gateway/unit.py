"""Units, by their UCUM codes: which exist, what they measure, how one becomes another, how French people write them."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Unit:
    """value in the quantity's first unit = value * factor + offset."""

    quantity: str
    factor: float
    shown: str
    offset: float = 0.0


UNITS: dict[str, Unit] = {
    "1": Unit("number", 1, ""),
    "%": Unit("share", 1, "%"),
    "bar": Unit("pressure", 1, "bar"),
    "mbar": Unit("pressure", 1e-3, "mbar"),
    "Pa": Unit("pressure", 1e-5, "Pa"),
    "kPa": Unit("pressure", 1e-2, "kPa"),
    "m[H2O]": Unit("pressure", 0.0980665, "mCE"),
    "m3/h": Unit("flow", 1, "m³/h"),
    "m3/s": Unit("flow", 3600, "m³/s"),
    "L/s": Unit("flow", 3.6, "L/s"),
    "L/min": Unit("flow", 0.06, "L/min"),
    "L/h": Unit("flow", 1e-3, "L/h"),
    "m3": Unit("volume", 1, "m³"),
    "L": Unit("volume", 1e-3, "L"),
    "mL": Unit("volume", 1e-6, "mL"),
    "m": Unit("length", 1, "m"),
    "cm": Unit("length", 1e-2, "cm"),
    "mm": Unit("length", 1e-3, "mm"),
    "m/s": Unit("speed", 1, "m/s"),
    "mm/s": Unit("speed", 1e-3, "mm/s"),
    "mm/h": Unit("precipitation rate", 1, "mm/h"),
    "Cel": Unit("temperature", 1, "°C"),
    "K": Unit("temperature", 1, "K", -273.15),
    "V": Unit("voltage", 1, "V"),
    "mV": Unit("voltage", 1e-3, "mV"),
    "A": Unit("current", 1, "A"),
    "mA": Unit("current", 1e-3, "mA"),
    "W": Unit("power", 1, "W"),
    "kW": Unit("power", 1e3, "kW"),
    "W/m2": Unit("irradiance", 1, "W/m²"),
    "VA": Unit("apparent power", 1, "VA"),
    "var": Unit("reactive power", 1, "var"),
    "W.h": Unit("energy", 1, "Wh"),
    "kW.h": Unit("energy", 1e3, "kWh"),
    "MW.h": Unit("energy", 1e6, "MWh"),
    "var.h": Unit("reactive energy", 1, "varh"),
    "kvar.h": Unit("reactive energy", 1e3, "kvarh"),
    "VA.h": Unit("apparent energy", 1, "VAh"),
    "Hz": Unit("frequency", 1, "Hz"),
    "/min": Unit("rotation", 1, "tr/min"),
    "s": Unit("time", 1, "s"),
    "min": Unit("time", 60, "min"),
    "h": Unit("time", 3600, "h"),
    "d": Unit("time", 86400, "j"),
    "deg": Unit("angle", 1, "°"),
    "deg/s": Unit("angular speed", 1, "°/s"),
    "kg": Unit("mass", 1, "kg"),
    "[lb_av]": Unit("mass", 0.45359237, "lb"),
    "g": Unit("acceleration", 1, "g"),
    "m/s2": Unit("acceleration", 1 / 9.80665, "m/s²"),
    "lx": Unit("illuminance", 1, "lx"),
    "lm": Unit("luminous flux", 1, "lm"),
    "[ppm]": Unit("concentration", 1, "ppm"),
    "[ppb]": Unit("concentration", 1e-3, "ppb"),
    "ug/m3": Unit("mass concentration", 1, "µg/m³"),
    "uS/cm": Unit("conductivity", 1, "µS/cm"),
    "dB": Unit("level", 1, "dB"),
    "dB[SPL]": Unit("sound pressure level", 1, "dB"),
    "dB[mW]": Unit("signal", 1, "dBm"),
}


def convert(value: float, unit: str, wanted: str) -> float:
    """`value` given in `unit`, in `wanted`. Raises ValueError when one is unknown or they measure different things.

    A length is taken for a pressure where a pressure is wanted (m of water column), as water people write it.
    """
    source, target = UNITS.get(unit), UNITS.get(wanted)
    if source is None or target is None:
        unknown = unit if source is None else wanted
        raise ValueError(f"unit {unknown!r}: unknown; use one of {', '.join(UNITS)}")
    if source.quantity == "length" and target.quantity == "pressure":
        source = Unit("pressure", source.factor * UNITS["m[H2O]"].factor, source.shown)
    if source.quantity != target.quantity:
        raise ValueError(f"unit {unit!r} ({source.quantity}): expected a {target.quantity}, such as {wanted!r}")
    return (value * source.factor + source.offset - target.offset) / target.factor
