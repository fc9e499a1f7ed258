"""What a technician reads of a faulty site file is French, with the English beside it, whatever is wrong with it."""

from __future__ import annotations

import ast
import string
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.app import site_of
from gateway.cli import main
from gateway.errors import FileFault, SiteError
from gateway.fault_words import FRENCH, in_french, told
from gateway.site_file import MAX_BYTES

GATEWAY = Path(__file__).resolve().parents[2] / "gateway"
MODULES = (
    "site", "site_file", "rulebook", "permit", "lighting", "street", "condition", "curfew", "acting", "budget", "signed",
    "watch", "gear", "clash",
)  # fmt: skip
"""Whose sentences end in the faults of a site file."""
NOT_OF_A_FILE = {"state of a condition: expected met and since_s, got {}"}
"""Said of the store's memory."""
HEAD = '[gateway]\nid = "edge-1"\ncommune = "X"\ntimezone = "Europe/Paris"\nlatitude = 47.0\nlongitude = 6.0\n'
BUS = '[[bus]]\nname = "b"\nprotocol = "modbus-tcp"\nhost = "127.0.0.1"\n'
DEVICE = '[[device]]\nname = "d"\nprofile = "water/keller_x_line"\nbus = "b"\naddress = 3\n'
WRONG = [
    "[gateway", "a = ", 'a = "x', "a = 1\na = 2", "[x]\n[x]", "a = 1 b", "a = [1", "a = tru", '= "x"', "a = {",
    "",
    HEAD.replace("47.0", "470.0") + BUS + DEVICE,
    HEAD.replace("47.0", '"x"') + BUS + DEVICE,
    HEAD.replace('"edge-1"', '"Edge 1"') + BUS + DEVICE,
    HEAD.replace('"Europe/Paris"', '"Paris"') + BUS + DEVICE,
    HEAD + BUS + '[[bus]]\nname = "l"\nprotocol = "modbus-rtu"\nport = "/dev/ttyUSB0"\nline = "9600 8N9"\n' + DEVICE,
    HEAD + 'summary = "7min"\ndry_run = "perhaps"\n' + BUS + DEVICE,
    HEAD + 'summary = 7\n[upstream]\nurl = "http://x"\nack = "never"\n' + BUS + DEVICE,
    HEAD + '[upstream]\nurl = "mqtt://10.0.0.1"\n' + BUS + DEVICE,
    HEAD + '[upstream]\nurl = "mqtts://a:b@10.0.0.1"\ncommand_key = "none.pem"\n' + BUS + DEVICE,
    HEAD + BUS.replace("modbus-tcp", "modbus-rtu") + DEVICE,
    HEAD + BUS.replace("modbus-tcp", "telepathy") + DEVICE,
    HEAD + BUS.replace('protocol = "modbus-tcp"\n', "") + DEVICE,
    HEAD + '[[bus]]\nname = "b"\nprotocol = "modbus-rtu"\nport = "/dev/ttyUSB0"\n' + DEVICE,
    HEAD + BUS + "port = 0\n" + DEVICE + 'every = "5x"\npatience_ms = 1.5\n',
    HEAD + BUS + BUS + DEVICE + DEVICE,
    HEAD + BUS + DEVICE.replace("3", "300") + 'key_file = "k"\n',
    HEAD + BUS + DEVICE.replace("3", "[3]") + DEVICE.replace("water/keller_x_line", "water/none"),
    HEAD + BUS + DEVICE.replace("water/keller_x_line", "none") + DEVICE.replace('"b"', '"c"'),
    HEAD + BUS + DEVICE + '[[watch]]\nname = "w"\nmodel = "leak"\n[watch.inputs]\nflow = ["d/flow", "x/y", "z"]\n',
    HEAD + BUS + DEVICE + '[[permit]]\npoint = "d/pressure"\nby = ["rule"]\nlease = "48h"\n',
    HEAD + BUS + DEVICE + '[[rule]]\nname = "r"\n[[rule.when]]\npoint = "d/pressure"\n',
    HEAD + BUS + DEVICE + '[[rule]]\nname = "r"\nwhen = "x"\n',
]  # fmt: skip


def _text(node: ast.expr) -> str:
    match node:
        case ast.Constant(value=str(text)):
            return text
        case ast.JoinedStr(values=values):
            return "".join(part.value if isinstance(part, ast.Constant) else "{}" for part in values)
        case ast.BinOp(left=left, op=ast.Add(), right=right):
            return _text(left) + _text(right)
    return ""


def sentences() -> list[str]:
    """Every sentence of those modules, with `{}` where a value stands."""
    found = []
    for name in MODULES:
        for node in ast.walk(ast.parse((GATEWAY / f"{name}.py").read_text("utf-8"))):
            match node:
                case ast.Raise(exc=ast.Call(func=ast.Name(id="ValueError"), args=[given, *_])):
                    found.append(_text(given))
                case ast.Raise(exc=ast.Call(func=ast.Name(id="SiteError"), args=[ast.List(elts=[given])])):
                    found.append(_text(given))
                case ast.Yield(value=ast.expr() as given) | ast.Call(func=ast.Attribute(attr="append"), args=[given]):
                    found.append(_text(given))
    return sorted({text for text in found if " " in text.strip("{}: ") and text not in NOT_OF_A_FILE})


def sentences_of_links() -> list[str]:
    """What a port or a connection is said to be unusable for."""
    found = []
    for file in (GATEWAY / "link").glob("*.py"):
        for node in ast.walk(ast.parse(file.read_text("utf-8"))):
            match node:
                case ast.Call(func=ast.Name(id="LinkError"), args=[given, *_]):
                    found.append(_text(given))
    return sorted(text for text in set(found) if text.strip("{}: "))


@pytest.mark.parametrize("english", sentences_of_links())
def test_every_sentence_about_a_port_is_there_in_french(english: str) -> None:
    assert in_french(english.replace("{}", "'v'")), english


def test_a_port_s_trouble_is_french_to_its_end() -> None:
    said = "10.0.0.1:502: cannot connect: Connect call failed ('10.0.0.1', 502); check address and port"
    assert in_french(said) == (
        "10.0.0.1:502: connexion impossible : personne n'écoute là ; vérifiez l'adresse et le port"
    )
    assert in_french("/dev/ttyUSB0: No such device; is the adapter still plugged in?") == (
        "/dev/ttyUSB0: pas d'appareil là ; l'adaptateur est-il encore branché ?"
    )


def test_the_sweep_finds_the_sentences() -> None:
    assert len(sentences()) > 70


@pytest.mark.parametrize("english", [text for text in sentences() if not text.startswith("verrouillage")])
def test_every_sentence_of_ours_about_a_site_file_is_there_in_french(english: str) -> None:
    fault = "site.toml: " + "".join(
        part + (f"'v{number}'" if field is not None else "")
        for number, (part, field, _, _) in enumerate(string.Formatter().parse(english))
    )
    assert in_french(fault) or in_french(f"{fault}; remove the permit"), english


@pytest.mark.parametrize("text", WRONG)
def test_whatever_is_wrong_is_said_in_french_with_the_english_below(text: str, tmp_path: Path) -> None:
    with pytest.raises(FileFault) as caught:
        site_of(text, tmp_path / "site.toml")
    lines = told(caught.value.faults, english=False)
    assert lines[1::2] == [f"    {fault}" for fault in caught.value.faults]
    assert told(caught.value.faults, english=True) == list(caught.value.faults)


def test_the_values_stand_where_they_belong() -> None:
    said = in_french("site.toml: device 'a'.address: 3 on bus 'b' is taken by 'c'; give one of them another address, on the "
                     "device too")  # fmt: skip
    assert said.startswith("site.toml: device 'a'.address: 3 sur le bus 'b' est pris par 'c' ;")
    assert in_french("site.toml: not TOML: Invalid value (at line 1, column 3)").endswith("(ligne 1, colonne 3)")
    assert in_french("site.toml: rule 'r'.when: 'x/y': there is no device 'x'; known: a, b").endswith("connus : a, b")


def test_the_command_line_says_both(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    site = tmp_path / "site.toml"
    site.write_text(HEAD + BUS + DEVICE.replace("3", "300"), "utf-8")
    assert main(["--lang", "fr", "plan", str(site)]) == 2
    french, english, *_ = capsys.readouterr().err.splitlines()
    assert "attendu un numéro d'appareil de 1 à 247, reçu 300" in french
    assert "expected a unit id from 1 to 247, got 300" in english
    assert main(["--lang", "en", "plan", str(site)]) == 2
    assert "attendu" not in capsys.readouterr().err


@given(st.text(alphabet=string.printable, max_size=300))
def test_any_text_is_taken_quietly(text: str) -> None:
    said = in_french(text)
    assert isinstance(said, str)


def test_a_very_long_fault_takes_no_time() -> None:
    assert in_french("site.toml: " + "x: expected 1 to 2 " * (MAX_BYTES // 20)) == ""


def test_the_table_holds_its_own_braces() -> None:
    for english, french in FRENCH.items():
        count = english.count("{}")
        fields = {field for _, field, _, _ in string.Formatter().parse(french) if field is not None}
        assert all(int(field) < count for field in fields), english


def test_a_fault_of_a_model_stays_as_it_is() -> None:
    assert told(SiteError(["leak/card.toml: something new"]).faults, english=False) == ["leak/card.toml: something new"]
