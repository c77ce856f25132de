"""A server with servers beside it, down, with a log of its own, of postgresql-common; parameters for all."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from backend.lab.cluster import PrivateCluster
from backend.lab.servers import find_installations
from tests.ports import free_port
from tests.registry.samples import Samples
from tests.servers import Database, until

# The last rule fits no connection while ssl is off: an error to look at that keeps nothing from being loaded.
RULES = """\
local all all trust
local replication all trust
hostssl all all 127.0.0.1/32 scram-sha-256
"""
UNFIT = RULES.count("\n")

OF_COMMON = frozenset({"cluster.create", "cluster.rename", "cluster.start_mode"})


@contextmanager
def populate(database: Database) -> Iterator[Samples]:
    """A rule that fits nothing, a setting by ALTER SYSTEM, and three servers beside."""
    cluster = database.server.cluster
    (cluster.data / "pg_hba.conf").write_text(RULES)
    database.execute("ALTER SYSTEM SET work_mem = '5MB'")
    database.execute("SELECT pg_reload_conf()")
    until(lambda: database.execute("SHOW work_mem") == [("5MB",)])
    with beside(cluster) as others:
        common = others.major_of_common
        yield Samples(
            views={"cluster.hba": {"user": "dba", "database": "postgres"}},
            actions=parameters(others),
            absent=frozenset({"cluster.upgrade"}) if common else OF_COMMON | {"cluster.upgrade"},
            nothing=frozenset() if Path("/run/systemd/system").is_dir() else frozenset({"cluster.services"}),
            varying=others.varying,
            environment={"PG_CLUSTER_CONF_ROOT": str(others.root)},
        )


def parameters(others: Others) -> dict[str, dict[str, Any]]:
    """What each action is planned with."""
    down, orders = {"cluster": str(others.down.data)}, {"cluster": f"{others.major}/orders"}
    fresh = {"name": "fresh", "port": others.port, "data": str(others.down.folder / "fresh")}
    rule = {"type": "local", "database": "all", "user": "reports", "method": "reject"}
    return {
        "cluster.start": down,
        "cluster.drop": down,
        "cluster.create": fresh | {"version": others.major_of_common},
        "cluster.rename": orders | {"to": "sales"},
        "cluster.start_mode": orders | {"mode": "auto"},
        "cluster.rotate_log": {"cluster": str(others.logging.data)},
        "cluster.set": {"name": "work_mem", "value": "6MB"},
        "cluster.reset": {"name": "work_mem"},
        "cluster.add_hba_rule": rule | {"before": UNFIT},
        "cluster.remove_hba_rule": {"line": UNFIT},
        "cluster.edit_hba": {"text": "local all all trust\n"},
    }


@dataclass(frozen=True, slots=True)
class Others:
    """The servers beside: one that is down, one that writes its log itself, a root of postgresql-common."""

    own: PrivateCluster
    down: PrivateCluster
    logging: PrivateCluster
    root: Path
    port: int

    @property
    def major(self) -> int:
        """The version of them all."""
        return self.own.installation.major

    @property
    def major_of_common(self) -> int | None:
        """A version of which postgresql-common can make servers."""
        if shutil.which("pg_createcluster") is None:
            return None
        found = [i.major for i in find_installations() if i.bindir.is_relative_to("/usr/lib/postgresql")]
        return max(found, default=None)

    @property
    def varying(self) -> Mapping[str, str]:
        """What is another one each time, the longer words first."""
        own, version = self.own, self.major_of_common
        around = own.folder.parent
        return {
            str(own.installation.bindir): "/srv/bin",
            self.down.folder.name: "down",
            self.logging.folder.name: "logging",
            self.root.parent.name: "common",
            own.folder.name: "own",
            str(around): "/srv",
            # Where two servers share a name, it has more of the path.
            f"/{around.name}/": "/",
            f"sudo -n -u {own.data.owner()} --": "sudo -n -u OWNER --",
            "sudo -n -u root -- ": "",
            f"--user {own.data.owner()} --port {self.port}": "--user OWNER --port PORT",
            f"its port is {self.port}": "its port is PORT",
            f"{version}/fresh": "VERSION/fresh",
            f"{version} fresh": "VERSION fresh",
        }


@contextmanager
def beside(own: PrivateCluster) -> Iterator[Others]:
    """Servers that are copies of the template, and end with this."""
    down, logging, orders = (copied(own, word) for word in ("down", "logging", "common"))
    logging = replace(logging, settings=dict(own.settings) | {"logging_collector": "on"})
    down.configure()
    logging.start()
    try:
        yield Others(own, down, logging, of_common(orders), free_port())
    finally:
        logging.stop("immediate")
        for each in (down, logging, orders):
            shutil.rmtree(each.folder)


def copied(own: PrivateCluster, word: str) -> PrivateCluster:
    """A server that is down, in a folder beside."""
    folder = own.folder.with_name(f"{own.folder.name}{word}")
    own.account.make_folder(folder)
    template = own.folder.with_name(f"template{own.installation.major}")
    subprocess.run(["cp", "-a", template / "data", folder / "data"], check=True)
    made = replace(own, folder=folder, port=free_port(), socket_dir=folder / "s", settings={})
    opts = made.data / "postmaster.opts"
    opts.write_text(f'{made.installation.program("postgres")} "-D" "{made.data}"\n')
    own.account.own(opts)
    return made


def of_common(orders: PrivateCluster) -> Path:
    """The root of postgresql-common's configuration in which that server is called orders."""
    confdir = orders.folder / "etc" / str(orders.installation.major) / "orders"
    orders.account.make_folder(orders.folder / "etc")
    orders.account.make_folder(confdir.parent)
    orders.account.make_folder(confdir)
    texts = {
        "postgresql.conf": f"data_directory = '{orders.data}'\nport = {orders.port}\n",
        "start.conf": "manual\n",
        "pg_hba.conf": "local all all peer\n",
        "pg_ident.conf": "",
    }
    for name, text in texts.items():
        (confdir / name).write_text(text)
        orders.account.own(confdir / name)
    return orders.folder / "etc"
