"""Sessions for the console to show."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager

import psycopg

from tests.servers import Server


@contextmanager
def running(server: Server, statement: bytes, dbname: str = "postgres", **options: str) -> Iterator[int]:
    """The process id of a session that runs this statement until it is ended."""
    connection = psycopg.connect(server.dsn(dbname, **options), autocommit=True)
    pid = connection.info.backend_pid
    try:
        connection.pgconn.send_query(statement)
        yield pid
    finally:
        server.psql("SELECT pg_terminate_backend(%s)", params=[pid])
        connection.close()


def sleeper(server: Server, name: str = "sleeper") -> AbstractContextManager[int]:
    """The process id of a session that runs one long statement."""
    return running(server, b"SELECT pg_sleep(600) AS nap", application_name=name)
