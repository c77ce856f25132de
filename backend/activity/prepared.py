"""Prepared transactions: the statement and its rows."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Annotated

from backend.core.declare import Col
from backend.core.facts import Query
from backend.core.record import record
from backend.core.values import hours

PREPARED = Query("""
SELECT x.gid,
       x.database,
       x.owner,
       x.prepared,
       pg_catalog.clock_timestamp() - x.prepared AS age,
       pg_catalog.age(x.transaction) AS xid_age
  FROM pg_catalog.pg_prepared_xacts x
 ORDER BY x.prepared
""")


@record
class PreparedRow:
    """One prepared transaction."""

    gid: Annotated[str, Col("Name", key=True, text=True, priority=1)]
    database: Annotated[str, Col("Database", priority=1)]
    owner: Annotated[str, Col("Owner", priority=1)]
    prepared: Annotated[datetime, Col("Prepared", priority=5)]
    age: Annotated[
        timedelta,
        Col(
            "Age",
            priority=1,
            warn=hours(1),
            crit=hours(24),
            help="It holds its locks and the horizon so long",
        ),
    ]
    xid_age: Annotated[int, Col("Xid age", priority=4, help="How many transactions began since")]
