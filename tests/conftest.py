"""Servers, databases and a home of their own for all tests."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import hypothesis
import pytest

from backend.lab.servers import Installation
from tests.servers import (
    SUPPORTED,
    Database,
    Databases,
    OwnClusters,
    Server,
    Watchdog,
    Workspace,
    chosen_installations,
)

WORKSPACE = pytest.StashKey[Workspace]()
WATCHDOG = pytest.StashKey[Watchdog | None]()
INSTALLATIONS = pytest.StashKey[list[Installation]]()

# What a developer has set must not change what a test sees.
FOREIGN = ("PG", "PGTUI_", "TEXTUAL_", "XDG_")
FOREIGN_NAMES = ("NO_COLOR", "FORCE_COLOR", "CLICOLOR", "COLUMNS", "LINES", "COLORTERM", "PAGER", "EDITOR")

hypothesis.settings.register_profile("pgtui", deadline=None, database=None, max_examples=100)
hypothesis.settings.load_profile("pgtui")


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--all-servers", action="store_true", help="use every PostgreSQL found, not only two")


def pytest_configure(config: pytest.Config) -> None:
    config.stash[INSTALLATIONS] = chosen_installations(bool(config.getoption("all_servers")))
    if problem := _what_ci_lacks(config.stash[INSTALLATIONS]):
        raise pytest.UsageError(problem)
    config.stash[WORKSPACE], config.stash[WATCHDOG] = Workspace.open()


def pytest_unconfigure(config: pytest.Config) -> None:
    if watchdog := config.stash.get(WATCHDOG, None):
        watchdog.end()


def pytest_report_header(config: pytest.Config) -> list[str]:
    chosen = config.stash[INSTALLATIONS]
    found = {each.major for each in chosen}
    versions = ", ".join(f"{each.version} ({each.origin})" for each in chosen)
    absent = ", ".join(str(major) for major in SUPPORTED if major not in found)
    return [f"PostgreSQL: {versions or 'none'}; not tested on: {absent or 'none'}"]


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "installation" in metafunc.fixturenames:
        chosen = metafunc.config.stash[INSTALLATIONS]
        params = [
            pytest.param(each, id=f"pg{each.major}", marks=pytest.mark.xdist_group(f"pg{each.major}"))
            for each in chosen
        ]
        metafunc.parametrize("installation", params, indirect=True, scope="session")


@pytest.fixture(scope="session")
def installation(request: pytest.FixtureRequest) -> Installation:
    """The PostgreSQL that this test runs on: tests with it run once for each."""
    chosen: Installation = request.param
    return chosen


@pytest.fixture(scope="session")
def workspace(pytestconfig: pytest.Config) -> Workspace:
    """The folder of this test run."""
    return pytestconfig.stash[WORKSPACE]


@pytest.fixture(scope="session")
def server(workspace: Workspace, installation: Installation) -> Iterator[Server]:
    """A running server that tests share: leave its roles and settings as they were."""
    cluster = workspace.cluster(installation)
    cluster.start()
    yield Server(cluster)
    cluster.stop("immediate")


@pytest.fixture(scope="session")
def databases(server: Server) -> Databases:
    """Makes and drops databases of the shared server."""
    return Databases(server)


@pytest.fixture
def database(databases: Databases) -> Iterator[Database]:
    """A fresh, empty database."""
    made = databases.new()
    yield made
    databases.drop(made)


@pytest.fixture
def database_from(databases: Databases) -> Iterator[Callable[[str, Callable[[Database], None]], Database]]:
    """Makes a fresh copy of a database that a function prepares once: `database_from("shop", fill)`."""
    made: list[Database] = []

    def make(template: str, setup: Callable[[Database], None]) -> Database:
        made.append(databases.from_template(template, setup))
        return made[-1]

    yield make
    for each in made:
        databases.drop(each)


@pytest.fixture
def own_cluster(workspace: Workspace, installation: Installation) -> Iterator[OwnClusters]:
    """Makes servers for this test alone: `own_cluster({"jit": "on"})`, `own_cluster.standby(primary)`."""
    clusters = OwnClusters(workspace, installation)
    yield clusters
    clusters.remove()


@pytest.fixture(autouse=True)
def state_home(workspace: Workspace, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """An empty home folder for this test, and an environment without what the user has set."""
    for name in list(os.environ):
        if name.startswith(FOREIGN) or name in FOREIGN_NAMES:
            monkeypatch.delenv(name)
    home = workspace.new_folder("home")
    folders = {
        "HOME": home,
        "XDG_CONFIG_HOME": home / ".config",
        "XDG_STATE_HOME": home / ".local" / "state",
        "XDG_RUNTIME_DIR": home / "run",
        # The machine's own servers of postgresql-common are no part of a test.
        "PG_CLUSTER_CONF_ROOT": home / "etc",
    }
    for variable, folder in folders.items():
        # Servers that root starts run as somebody else, who has to get through.
        folder.mkdir(mode=0o700 if folder.name == "run" else 0o711, parents=True)
        monkeypatch.setenv(variable, str(folder))
    yield home
    shutil.rmtree(home, ignore_errors=True)


def _what_ci_lacks(found: list[Installation]) -> str | None:
    if not os.environ.get("CI"):
        return None
    if len(found) < 2:
        return f"CI tests on at least two major versions of PostgreSQL; found {len(found)}"
    if shutil.which("sshd", path="/usr/sbin:/usr/local/sbin:/usr/bin") is None:
        return "CI tests hosts over SSH; sshd is not installed"
    return None
