"""Views of the room `cluster`."""

from __future__ import annotations

from typing import Annotated

from backend.cluster import clusters, control, file_errors, hba, logs, services, settings, storage
from backend.cluster.place import HOST, ClusterName
from backend.core.declare import Ask, view
from backend.core.session import Session

HERE = "the host has no PostgreSQL server"


@view("cluster.clusters", every=10, needs=HOST, verdict=clusters.cluster_verdict, empty=HERE)
async def all_clusters(
    s: Session,
    sizes: Annotated[bool, Ask("Measure sizes", help="Adds up the files of every data folder")] = False,
) -> list[clusters.ClusterRow]:
    """Every PostgreSQL server of the host, whatever made it: up or down, role, port, archiving."""
    return await clusters.cluster_rows(s, sizes)


@view("cluster.settings", every=30, needs=HOST, verdict=settings.setting_verdict,
      empty="no setting is like that")  # fmt: skip
async def all_settings(
    s: Session,
    changed: Annotated[bool, Ask("Only changed", help="Those that differ from the built-in value")] = False,
    pending: Annotated[bool, Ask("Only those that wait for a restart")] = False,
    against: Annotated[
        str | None, Ask("Compare with target", help="Shows only what differs from that target")
    ] = None,
    cluster: ClusterName = None,
) -> list[settings.SettingRow]:
    """A server's settings: value, source, what waits for a restart; while it is down, what its files say."""
    return await settings.setting_rows(s, changed, pending, against, cluster)


@view("cluster.file_errors", every=30, needs=HOST, verdict=file_errors.error_verdict,
      empty="the server can read its configuration files")  # fmt: skip
async def all_file_errors(s: Session, cluster: ClusterName = None) -> list[file_errors.FileError]:
    """Lines of the configuration files that a server cannot take, or that keep it from starting."""
    return await file_errors.file_error_rows(s, cluster)


@view("cluster.hba", every=30, needs=HOST, verdict=hba.hba_verdict, overall=hba.nobody_verdict,
      empty="pg_hba.conf has no rule: nobody gets in")  # fmt: skip
async def all_hba(
    s: Session,
    user: Annotated[
        str | None, Ask("User", help="Marks the rule that decides about this role", fill=False)
    ] = None,
    database: Annotated[
        str | None, Ask("Database", help="The user's own name when left out", fill=False)
    ] = None,
    address: Annotated[
        str | None, Ask("Address", help="An IP address; the socket when left out", fill=False)
    ] = None,
    ssl: Annotated[bool | None, Ask("Encrypted", help="As the server offers it when left out")] = None,
    replication: Annotated[bool, Ask("Replication", help="A standby or pg_basebackup connects")] = False,
    cluster: ClusterName = None,
) -> list[hba.HbaRow]:
    """Who may connect: the rules of pg_hba.conf as the file says now, and which one would match."""
    return await hba.hba_rows(s, hba.Question(user, database, address, ssl, replication), cluster)


@view("cluster.control", every=30, needs=HOST, verdict=control.control_verdict,
      empty="the control file holds nothing")  # fmt: skip
async def all_control(s: Session, cluster: ClusterName = None) -> list[control.ControlRow]:
    """A server's control file: checkpoint, timeline, identity; also while it is down."""
    return await control.control_rows(s, cluster)


@view("cluster.logs", every=5, needs=HOST, verdict=logs.log_verdict, checked=False,
      empty="the log has no such message")  # fmt: skip
async def all_logs(
    s: Session,
    severity: Annotated[logs.Severity | None, Ask("Least severity")] = None,
    grep: Annotated[str | None, Ask("Pattern", help="A regular expression, in whatever case")] = None,
    lines: Annotated[int, Ask("Messages at most")] = 200,
    fold: Annotated[bool, Ask("Fold equal messages")] = True,
    cluster: ClusterName = None,
) -> list[logs.LogRow]:
    """The end of a server's log, message by message."""
    return await logs.log_rows(s, cluster, logs.Wanted(severity, grep, lines, fold))


@view("cluster.storage", every=30, needs=HOST, verdict=storage.storage_verdict, empty=HERE)
async def all_storage(s: Session, cluster: ClusterName = None) -> list[storage.StorageRow]:
    """Where a server keeps what, how full that is, and for how long it lasts."""
    return await storage.storage_rows(s, cluster)


@view("cluster.services", every=10, needs=HOST, verdict=services.service_verdict,
      empty="systemd does not run on the host, or knows no unit of PostgreSQL and its tools")  # fmt: skip
async def all_services(s: Session) -> list[services.ServiceRow]:
    """The systemd units and timers of PostgreSQL and its tools."""
    return await services.service_rows(s)
