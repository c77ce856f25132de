"""Finding the PostgreSQL servers of a machine."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest

from backend.lab.account import Account
from backend.lab.servers import PROGRAMS, Installation, find_installations, preferred


def made_of(major: int, origin: str) -> Installation:
    return Installation(major, f"{major}.1", Path("/somewhere") / origin, origin)


def embedded() -> Installation:
    return next(each for each in find_installations() if each.origin == "embedded")


def test_finds_each_major_once_and_the_newest_first() -> None:
    majors = [each.major for each in find_installations()]
    assert majors == sorted(set(majors), reverse=True)
    assert majors


def test_tells_version_and_programs_of_what_it_found(installation: Installation) -> None:
    said = subprocess.run(
        [installation.program("postgres"), "--version"], capture_output=True, text=True, check=True
    ).stdout
    assert re.search(rf"\) {re.escape(installation.version)}\b", said)
    assert installation.version.startswith(f"{installation.major}")


@pytest.mark.parametrize(
    ("folder", "origin"),
    [
        ("usr/lib/postgresql/99/bin", "Debian"),
        ("usr/pgsql-99/bin", "PGDG"),
        ("usr/bin", "distribution"),
        ("opt/homebrew/opt/postgresql@99/bin", "Homebrew"),
        ("usr/local/opt/postgresql@99/bin", "Homebrew"),
    ],
)
def test_knows_the_layouts_of_packages(
    tmp_path: Path, installation: Installation, folder: str, origin: str
) -> None:
    bindir = tmp_path / folder
    bindir.mkdir(parents=True)
    for name in PROGRAMS:
        (bindir / name).symlink_to(installation.program(name))
    found = {each.major: each for each in find_installations(tmp_path)}
    assert found[installation.major] == Installation(
        installation.major, installation.version, bindir, origin
    )  # fmt: skip


def test_passes_over_a_folder_without_all_programs(tmp_path: Path, installation: Installation) -> None:
    bindir = tmp_path / "usr/lib/postgresql/15/bin"
    bindir.mkdir(parents=True)
    (bindir / "pg_ctl").symlink_to(installation.program("pg_ctl"))
    assert bindir not in [each.bindir for each in find_installations(tmp_path)]


def test_prefers_the_newest_server_that_has_extension_packages() -> None:
    available = [made_of(18, "embedded"), made_of(17, "Debian"), made_of(15, "Debian")]
    assert preferred(available) == available[1]
    assert preferred(available[:1]) == available[0]
    assert preferred([]) is None


def test_a_copy_of_the_embedded_server_runs(tmp_path: Path) -> None:
    copy = embedded().relocated(tmp_path)
    assert copy.bindir.is_relative_to(tmp_path)
    said = subprocess.run([copy.program("psql"), "--version"], capture_output=True, text=True).stdout
    assert copy.version in said
    assert copy == embedded().relocated(tmp_path)


def test_an_account_does_not_reach_through_somebody_elses_private_folder(tmp_path: Path) -> None:
    stranger = Account(uid=2**31 - 5, gid=2**31 - 5, dropped=True)
    tmp_path.chmod(0o700)
    assert not stranger.reaches(tmp_path / "program")
    assert stranger.reaches(Path("/usr/bin"))
