"""`pgtui`: the entry point. It imports nothing of ours before it is certain whose packages these are."""

from __future__ import annotations

import gc
import io
import os
import sys
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

OURS = ("backend", "screens", "themes", "tui")
COMPLETE = "_PGTUI_COMPLETE"


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line; the exit code."""
    words = list(sys.argv[1:] if argv is None else argv)
    if shadow := shadowed():
        sys.stderr.write(f"pgtui: {shadow}\n")
        return 1
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    return _guarded(words)


def shadowed() -> str:
    """A sentence when one of our packages is not the one that was installed with this file."""
    here = Path(__file__).resolve().parent.parent
    for name in OURS:
        spec = find_spec(name)
        found = Path(spec.origin).resolve().parent.parent if spec and spec.origin else None
        if found != here:
            where = f"found in {found}" if found else "not found"
            return f"package {name} of pgtui is {where}; install pgtui in an environment of its own"
    return ""


def _guarded(words: list[str]) -> int:
    """The exit code; whatever goes wrong is a sentence on standard error."""
    from backend.core.errors import PgtuiError
    from tui.out import complain

    debug = "--debug" in words
    try:
        return _open(words) if is_plain(words) else _run(words)
    except PgtuiError as e:
        if debug:
            _trace()
        complain(e)
        return _code(words, e.exit_code)
    except KeyboardInterrupt:
        return 130
    except Exception as e:
        return _code(words, _bug(e, debug))


def is_plain(words: Sequence[str]) -> bool:
    """Whether it is `pgtui` or `pgtui TARGET` and nothing else."""
    from tui.console import COMMANDS

    plain = all(not w.startswith("-") and w not in COMMANDS for w in words)
    return plain and len(words) <= 1 and COMPLETE not in os.environ


def _open(words: list[str]) -> int:
    """Open the console without Typer, whose import is a quarter of the time to the first rows."""
    from tui.console import open_console
    from tui.lean import leave_out
    from tui.options import Options

    gc.disable()  # collecting while modules load is a twentieth of that time; the console enables it again
    leave_out()
    return open_console(Options(), words[0] if words else None)


def _run(words: list[str]) -> int:
    import typer

    from tui.out import complain
    from tui.program import main_command

    command = main_command()
    try:
        code = command.main(args=words, prog_name="pgtui", complete_var=COMPLETE, standalone_mode=False)
    except typer.TyperException as e:
        complain(_usage(e))
        return _code(words, 2)
    except typer.Abort:
        return 130
    return code if isinstance(code, int) else 0


def _usage(error: Any) -> Any:
    """Typer's complaint as one of ours."""
    from backend.core.errors import Usage, nearest

    context: Any = getattr(error, "ctx", None)
    path = context.command_path if context else "pgtui"
    option = getattr(error, "option_name", None)
    if option and error.message.startswith("No such option"):
        known = [o for p in context.command.get_params(context) for o in (*p.opts, *p.secondary_opts)]
        near = nearest(option, known)
        return Usage(
            f"there is no option {option} of {path}", hint=near or f"{path} --help lists the options"
        )
    message = error.format_message().rstrip(".")
    return Usage(message[:1].lower() + message[1:], hint=f"{path} --help explains it")


def _code(words: list[str], code: int) -> int:
    """The exit code of an error; what went wrong in pgtui itself is UNKNOWN to a monitoring system."""
    return 3 if is_check(words) else code


def is_check(words: Sequence[str]) -> bool:
    """Whether the command is `check`: the first word that is neither an option nor an option's value."""
    from tui.command import valued_options

    rest = list(words)
    while rest:
        word = rest.pop(0)
        if not word.startswith("-"):
            return word == "check"
        if word in valued_options() and rest:
            rest.pop(0)
    return False


def _bug(error: Exception, debug: bool) -> int:
    from backend.core.errors import Failed
    from tui.out import complain

    if debug:
        _trace()
    told = f"something went wrong inside pgtui: {type(error).__name__}: {error}"
    complain(Failed(told, hint=None if debug else "--debug shows where"))
    return 1


def _trace() -> None:
    import traceback

    from backend.core.clean import clean_lines, mask

    sys.stderr.write(clean_lines(mask(traceback.format_exc())))
