"""The command: usage is 2, a problem in the field 1, and every error a sentence, never a traceback."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from importlib.metadata import EntryPoint, entry_points

import pytest

from gateway import __version__, cli
from gateway.cli import FIELD_PROBLEM, INTERRUPTED, USAGE, main
from gateway.errors import GuetError, SiteError, StoreError

Run = Callable[[], Callable[[list[str]], int]]


@pytest.fixture(autouse=True)
def _french(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GUET_LANG", "fr")


def test_every_verb_loads_and_says_what_it_does_in_both_languages() -> None:
    verbs = {found.name: found.load() for found in entry_points(group="guet.verbs")}
    assert {"run", "replay", "demo", "central"} <= set(verbs)
    for name, verb in verbs.items():
        french, _, english = (verb.__doc__ or "").split("\n")[0].partition(" / ")
        assert french, name
        assert english, name


@pytest.mark.parametrize("argv", [[], ["-h"], ["--help"], ["help"]])
def test_help_names_every_verb(argv: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(argv) == 0
    out = capsys.readouterr().out
    assert all(f"guet {found.name} " in out for found in entry_points(group="guet.verbs"))
    assert "la veille de nuit" in out


def test_help_speaks_english_when_asked(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--lang", "en", "help"]) == 0
    assert "the night watch" in capsys.readouterr().out


def test_the_version(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--version"]) == 0
    assert capsys.readouterr().out == f"guet {__version__}\n"


@pytest.mark.parametrize("argv", [["fly"], ["--lang", "de", "help"], ["--lang"], ["run"], ["run", "--colour"]])
def test_wrong_use_is_2(argv: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(argv) == USAGE
    assert capsys.readouterr().err


def test_an_unknown_verb_names_the_known_ones(capsys: pytest.CaptureFixture[str]) -> None:
    main(["fly"])
    assert "verbe inconnu 'fly' ; connus : " in capsys.readouterr().err


@pytest.mark.parametrize("name", ["run", "replay", "demo"])
def test_every_verb_has_its_own_help(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([name, "--help"]) == 0
    assert f"guet {name}" in capsys.readouterr().out


def test_what_ends_a_verb_is_said(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["bench", "tcp", "--devices", "0"]) == USAGE
    assert "expected --devices from 1" in capsys.readouterr().err


def fails(error: BaseException) -> Callable[[list[str]], int]:
    def verb(argv: list[str]) -> int:
        raise error

    return verb


@pytest.mark.parametrize(
    ("error", "code", "said"),
    [
        (SiteError(["a: x", "b: y"]), USAGE, "a: x\nb: y\n2 faute(s) ; rien n'a été démarré.\n"),
        (StoreError("disk: full"), FIELD_PROBLEM, "disk: full\n"),
        (
            ExceptionGroup("g", [StoreError("one"), ExceptionGroup("h", [GuetError("two"), StoreError("one")])]),
            FIELD_PROBLEM,
            "one\ntwo\n",
        ),
        (KeyboardInterrupt(), INTERRUPTED, ""),
        (BrokenPipeError(), FIELD_PROBLEM, ""),
        (SystemExit(0), 0, ""),
        (SystemExit(None), 0, ""),
        (SystemExit(2), USAGE, ""),
        (
            ModuleNotFoundError("No module named 'nats'", name="nats.js"),
            USAGE,
            "guet : ce verbe demande le paquet 'nats.js', qui n'est pas installé.\n",
        ),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, BaseException) else "",
)
def test_an_error_becomes_a_sentence_and_a_code(
    error: BaseException, code: int, said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli._run(lambda: fails(error), []) == code
    assert capsys.readouterr().err == said


@pytest.mark.parametrize(
    "error",
    [
        ZeroDivisionError(),
        ExceptionGroup("g", [StoreError("x"), ZeroDivisionError()]),
        ModuleNotFoundError("x", name="gateway.nothing"),
    ],
)
def test_a_mistake_of_ours_is_not_hidden(error: Exception) -> None:
    with pytest.raises(type(error)):
        cli._run(lambda: fails(error), [])


def test_help_stands_a_verb_whose_package_is_not_installed() -> None:
    assert cli._doc(EntryPoint("x", "not_installed_at_all:x", "guet.verbs")) == "(not_installed_at_all ?)"


def test_the_gateway_starts_without_what_only_others_need() -> None:
    """numpy, the model runtime, pymodbus, bleak, paho, the web: none is loaded to print the help of `run`."""
    code = (
        "import sys; from gateway.verbs import run\n"
        "heavy = {'numpy', 'ai_edge_litert', 'pymodbus', 'bleak', 'paho', 'starlette', 'uvicorn', 'serial', 'jinja2'}\n"
        "print(sorted(heavy & {name.partition('.')[0] for name in sys.modules}))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout.strip() == "[]"
