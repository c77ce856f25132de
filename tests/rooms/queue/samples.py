"""A database with queues, and parameters for the room's views and actions."""

from __future__ import annotations

import getpass
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import psycopg
from psycopg.conninfo import conninfo_to_dict

from backend.core.target import Target
from backend.core.values import Interval
from backend.queue import pgqd
from tests.registry.samples import Samples
from tests.rooms.jobmon.conftest import until
from tests.rooms.queue.conftest import Hand, available, capture, cascade, has_pgq, sample
from tests.servers import Database

VIEWS: dict[str, dict[str, Any]] = {"queue.events": {"queue": "orders"}}

# Its first event is number 1.
BATCH = {"queue": "orders", "consumer": "slow"}
ACTIONS: dict[str, dict[str, Any]] = {
    "queue.create": {"queue": "fresh"},
    "queue.drop": {"queue": "orders", "force": True},
    "queue.configure": {"queue": "orders", "ticker_max_count": 100, "rotation_period": Interval("1h")},
    "queue.pause_ticker": {"queue": "orders"},
    "queue.resume_ticker": {"queue": "idle"},
    "queue.disable_inserts": {"queue": "orders"},
    "queue.enable_inserts": {"queue": "idle"},
    "queue.tick": {"queue": "orders"},
    "queue.register": {"queue": "orders", "consumer": "fresh", "like": "slow"},
    "queue.copy_consumer": {"queue": "orders", "consumer": "slow", "to": "fresh"},
    "queue.reposition": {"queue": "orders", "consumer": "good", "at_tick": 1},
    "queue.unregister": BATCH,
    "queue.skip_batch": BATCH,
    "queue.retry_batch": BATCH | {"after": Interval("5min")},
    "queue.retry_event": BATCH | {"event": 1, "after": Interval("5min")},
    "queue.insert": {"queue": "orders", "type": "note", "data": "sample"},
    "queue.attach_trigger": {"queue": "orders", "table": "public.loose", "key": ["id"], "filter": "id > 0"},
    "queue.detach_trigger": {"queue": "orders", "table": "public.goods"},
    "queue.export_events": BATCH | {"finish": True},
}


DAEMON = frozenset({"queue.start_daemon", "queue.stop_daemon", "queue.reload_daemon"})


@contextmanager
def populate(database: Database) -> Iterator[Samples]:
    """The sample, a table that feeds a queue, an event to deliver again, a transaction that holds ticks."""
    samples = Samples(
        views=VIEWS,
        actions=ACTIONS,
        on_empty=frozenset({"queue.install"}),
        absent=DAEMON,
        edition="pgq-3",
    )
    if not has_pgq(database):
        absent = DAEMON | {"queue.install"}
        yield replace(samples, without=frozenset({"pgq", "pgq_node"}), absent=absent)
        return
    sample(database)
    hand = Hand(database)
    database.execute("CREATE TABLE goods (id int PRIMARY KEY, name text)")
    database.execute("CREATE TABLE loose (id int, name text)")
    capture(database, "goods", "jsontriga", "orders")
    hand.retry("orders", "slow")
    database.execute(
        "UPDATE pgq.queue SET queue_ticker_paused = true, queue_disable_insert = true"
        " WHERE queue_name = 'idle'"
    )
    nodes = available(database, "pgq_node")
    if nodes:
        cascade(database)
    with (
        psycopg.connect(database.dsn) as holding,
        daemon() as config,
        tempfile.TemporaryDirectory() as folder,
    ):
        holding.execute("SELECT pg_catalog.txid_current()")
        hand.tick("orders")
        varying = {folder: "FOLDER"} | of_server(database)
        actions = ACTIONS | {
            "queue.export_events": ACTIONS["queue.export_events"] | {"file": f"{folder}/out.jsonl"}
        }
        if config:
            samples = replace(samples, absent=frozenset())
            varying |= of_process(config)
            actions |= of_daemon(config)
        yield replace(
            samples,
            actions=actions,
            varying=varying,
            without=frozenset() if nodes else frozenset({"pgq_node"}),
        )


def of_server(database: Database) -> dict[str, str]:
    """What in plans tells of this server alone: transactions at ticks, and how it is reached."""
    snapshots = database.execute(
        "SELECT DISTINCT pg_catalog.txid_snapshot_xmax(tick_snapshot) FROM pgq.tick WHERE tick_queue = 1"
    )
    where = conninfo_to_dict(database.dsn)
    return {
        **{f"{xid}::pg_catalog.int8": "XID::pg_catalog.int8" for (xid,) in snapshots},
        pgqd.label(Target("stage", database.dsn)): "SERVER",
        f"user={where['user']} host={where['host']} port={where['port']}": "user=DBA host=HOST port=PORT",
        f"as {where['user']}, with what {getpass.getuser()} has": "as DBA, with what USER has",
    }


def of_process(config: Path) -> dict[str, str]:
    """What tells of this pgqd alone."""
    pid = config.with_suffix(".pid").read_text().strip()
    start = Path(f"/proc/{pid}/stat").read_text().rpartition(") ")[2].split()[19]
    return {
        str(config.parent): "FOLDER",
        f" {pid} {start} ": " PID START ",
        f"process {pid})": "process PID)",
    }


def of_daemon(config: Path) -> dict[str, dict[str, Any]]:
    """Parameters of the actions on pgqd."""
    return {
        "queue.start_daemon": {"databases": ["empty"], "service": False},
        "queue.stop_daemon": {"config": str(config)},
        "queue.reload_daemon": {"config": str(config), "ticker_period": 2.0},
    }


@contextmanager
def daemon() -> Iterator[Path | None]:
    """The configuration of a pgqd that runs and serves nothing; None where it is not installed."""
    program = shutil.which("pgqd")
    if program is None:
        yield None
        return
    with tempfile.TemporaryDirectory() as folder:
        config = Path(folder) / "pgqd.ini"
        config.write_text(
            f"[pgqd]\npidfile = {folder}/pgqd.pid\nlogfile = {folder}/pgqd.log\nsyslog = 0\n"
            f"base_connstr = host={folder}\ndatabase_list = none\n"
        )
        subprocess.run([program, "-q", "-d", str(config)], check=True)
        until((Path(folder) / "pgqd.pid").exists)
        yield config
        subprocess.run([program, "-k", str(config)], check=True, capture_output=True)
