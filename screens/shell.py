"""psql on the target, in the terminal that the console gives up for as long."""

from __future__ import annotations

import os
import subprocess
from typing import Any

from textual.app import App

from backend.core.errors import Missing
from screens.desk import Desk


async def psql(app: App[Any], desk: Desk, *, read_only: bool) -> None:
    """Run psql with the target's parameters; a password goes by the environment, never by the arguments."""
    from psycopg.conninfo import make_conninfo

    given = await desk.parameters()
    environment = dict(os.environ)
    if password := given.pop("password", None):
        environment["PGPASSWORD"] = str(password)
    given.pop("sslpassword", None)  # libpq takes it by no other way than the arguments; psql asks for it
    if read_only:
        # As a parameter: options of the connection string would win over the environment's.
        options = given.get("options") or environment.get("PGOPTIONS", "")
        given["options"] = f"{options} -c default_transaction_read_only=on".strip()
    conninfo = make_conninfo("", **{k: v for k, v in given.items() if v is not None})
    with app.suspend():
        try:
            subprocess.run(["psql", conninfo], env=environment, check=False)  # noqa: ASYNC221 -- it has the terminal
        except FileNotFoundError:
            raise Missing(
                "the program psql is not on this machine", hint="the PostgreSQL client package has it"
            ) from None
    app.refresh()
