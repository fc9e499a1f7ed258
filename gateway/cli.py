"""The command `guet`. Each room of the house brings its own verbs (entry points of the group "guet.verbs"), so that this
file knows nobody else's.

A verb is a function that takes its arguments and gives the exit code: 0 fine, 1 a problem in the field, 2 usage or a file
that cannot be used. The first line of its docstring, French / English, is its help.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from importlib.metadata import EntryPoint, entry_points

from gateway import __version__
from gateway.errors import FileFault, GuetError
from gateway.language import choose, say, speaks_english

FIELD_PROBLEM, USAGE, INTERRUPTED = 1, 2, 130
OURS = ("gateway", "simulator", "central", "firmware")


def main(argv: list[str] | None = None) -> int:
    """`guet [--lang fr|en] VERB ...`."""
    argv = list(sys.argv[1:] if argv is None else argv)
    if "--lang" in argv:
        at = argv.index("--lang")
        try:
            choose(argv[at + 1])
        except (IndexError, ValueError):
            sys.stderr.write("guet: --lang fr | en\n")
            return USAGE
        del argv[at : at + 2]
    verbs = {found.name: found for found in entry_points(group="guet.verbs")}
    match argv[:1]:
        case [] | ["-h"] | ["--help"] | ["help"]:
            print(_help({name: _doc(found) for name, found in sorted(verbs.items())}))
            return 0
        case ["-V"] | ["--version"]:
            print(f"guet {__version__}")
            return 0
        case [name] if name not in verbs:
            known = ", ".join(sorted(verbs))
            sys.stderr.write(
                say(
                    f"guet : verbe inconnu {name!r} ; connus : {known}\n",
                    f"guet: unknown verb {name!r}; known: {known}\n",
                )
            )
            return USAGE
    return _run(verbs[argv[0]].load, argv[1:])


def _doc(verb: EntryPoint) -> str:
    """What a verb says of itself; nothing where a package that it needs is not installed."""
    try:
        return verb.load().__doc__ or ""
    except ModuleNotFoundError as error:
        return f"({error.name} ?)"


def _told(group: ExceptionGroup[GuetError]) -> Iterator[str]:
    for error in group.exceptions:
        if isinstance(error, ExceptionGroup):
            yield from _told(error)
        else:
            yield str(error)


def _help(verbs: dict[str, str]) -> str:
    lines = [say("Guet, la veille de nuit du matériel communal.", "Guet, the night watch of municipal hardware."), ""]
    for name, text in verbs.items():
        french, _, english = text.strip().split("\n")[0].partition(" / ")
        lines.append(f"  guet {name:<10} {say(french, english or french)}")
    return "\n".join([*lines, "", say("  guet VERBE --help dit le reste.", "  guet VERB --help says the rest.")])


def _run(load: Callable[[], Callable[[list[str]], int]], argv: list[str]) -> int:
    try:
        return load()(argv)
    except SystemExit as end:  # argparse ends so
        if isinstance(end.code, str):
            sys.stderr.write(f"{end.code}\n")
        return end.code if isinstance(end.code, int) else 0 if end.code is None else USAGE
    except ModuleNotFoundError as error:
        if error.name is None or error.name.partition(".")[0] in OURS:
            raise
        sys.stderr.write(
            say(
                f"guet : ce verbe demande le paquet {error.name!r}, qui n'est pas installé.\n",
                f"guet: this verb needs the package {error.name!r}, which is not installed.\n",
            )
        )
        return USAGE
    except FileFault as error:
        count = len(error.faults)
        from gateway.fault_words import told

        after = say(f"{count} faute(s) ; rien n'a été démarré.", f"{count} fault(s); nothing was started.")
        sys.stderr.write("\n".join([*told(error.faults, speaks_english()), after, ""]))
        return USAGE
    except GuetError as error:
        sys.stderr.write(f"{error}\n")
        return FIELD_PROBLEM
    except ExceptionGroup as group:  # out of the one TaskGroup
        ours, others = group.split(GuetError)
        if ours is None or others is not None:
            raise
        sys.stderr.write("\n".join([*dict.fromkeys(_told(ours)), ""]))
        return FIELD_PROBLEM
    except KeyboardInterrupt:
        return INTERRUPTED
    except BrokenPipeError:
        return FIELD_PROBLEM


if __name__ == "__main__":
    raise SystemExit(main())
