"""The consoles that are compared, each in an environment of its own as its users install it."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import venv
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from measure.server import ROLES, Server

ROOT = Path(__file__).resolve().parents[2]
FOLDER = ROOT / "build" / "bench"
PG_ACTIVITY = ["pg-activity==3.6.2", "psycopg[binary]==3.3.9"]


@dataclass(frozen=True, slots=True)
class Console:
    """A console: how to start it on a server, and how to tell that it shows rows."""

    name: str
    command: Callable[[Server], Sequence[str]]
    rows: str
    python: Path
    idle: str
    environment: Mapping[str, str] = field(default_factory=lambda: environment())
    quit: str = "q"


def environment() -> dict[str, str]:
    """What a console finds in a plain terminal; nothing of the shell that measures."""
    home = FOLDER / "home"
    home.mkdir(parents=True, exist_ok=True)
    return {
        "TERM": "xterm-256color",
        "COLORTERM": "truecolor",
        "LANG": "C.UTF-8",
        "HOME": str(home),
        "PATH": os.environ["PATH"],
        "USER": os.environ.get("USER", "root"),
    }


def consoles() -> list[Console]:
    """pg_activity from the package index, and this tree's pgtui as a wheel."""
    return [_pg_activity(_made("pg_activity", PG_ACTIVITY)), _pgtui(_installed())]


def _pg_activity(folder: Path) -> Console:
    def command(server: Server) -> list[str]:
        host, port = server.address
        where = {"-h": host, "-p": port, "-U": ROLES["pg_activity"], "-d": "postgres"}
        return [str(folder / "bin/pg_activity"), *(word for pair in where.items() for word in pair)]

    return Console("pg_activity", command, r"PID +XMIN[^\n]*\n *[0-9]+", folder / "bin/python", r"PID +XMIN")


def _pgtui(folder: Path) -> Console:
    return Console(
        "pgtui",
        lambda server: [str(folder / "bin/pgtui"), server.dsn(ROLES["pgtui"])],
        r"^.{0,3} *[0-9]+ .*(pg_sleep|UPDATE|BEGIN|END)",
        folder / "bin/python",
        r"nobody is connected|not shown",
    )


def _installed() -> Path:
    """The environment with a wheel of this tree in it."""
    folder = _made("pgtui", ["--requirement", str(ROOT / "requirements.lock")])
    wheels = FOLDER / "wheels"
    shutil.rmtree(wheels, ignore_errors=True)
    _pip(sys.executable, "wheel", "--no-deps", "--no-build-isolation", "--wheel-dir", str(wheels), str(ROOT))
    [wheel] = wheels.glob("*.whl")
    _pip(str(folder / "bin/python"), "install", "--no-deps", "--force-reinstall", str(wheel))
    return folder


def _made(name: str, wanted: Sequence[str]) -> Path:
    """The environment of that name, made when what it should hold has changed."""
    folder, stamp = FOLDER / name, FOLDER / f"{name}.txt"
    said = "\n".join(wanted) + "".join(Path(w).read_text() for w in wanted if w.endswith(".lock"))
    if not (stamp.exists() and stamp.read_text() == said):
        print(f"making the environment of {name}", file=sys.stderr)
        venv.create(folder, clear=True, with_pip=True)
        _pip(str(folder / "bin/python"), "install", *wanted)
        stamp.write_text(said)
    return folder


def _pip(python: str, *words: str) -> None:
    # pip compiles what it installs, unless the shell forbids bytecode.
    kept = {k: v for k, v in os.environ.items() if k != "PYTHONDONTWRITEBYTECODE"}
    pip = [python, "-m", "pip", "-qq", "--disable-pip-version-check", "--no-input"]
    subprocess.run([*pip, *words], env=kept, check=True)
