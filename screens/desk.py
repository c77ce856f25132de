"""Everything that is open for one target in the console: its session, its feeds and its runs.

Knows nothing of widgets, and imports psycopg only when it opens: the first frame is painted before.
"""

from __future__ import annotations

import asyncio
import contextlib
import shlex
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from backend.core.declare import Action, View
from backend.core.errors import Refused
from backend.core.params import Draft, Param
from backend.core.poller import Feed, Poller
from backend.core.target import Inventory, Target

if TYPE_CHECKING:
    from backend.core.confirm import Confirmation
    from backend.core.connection import AskPassword
    from backend.core.facts import Facts
    from backend.core.journal import Journal
    from backend.core.plan import Plan
    from backend.core.run import Run
    from backend.core.session import Session


# Seconds that a cancelled run has to end before pgtui leaves it; the journal tells of it at the next start.
PATIENCE = 5.0


@dataclass(slots=True)
class Desk:
    """One target in the console; `open()` before anything else is asked of it."""

    target: Target
    inventory: Inventory = field(default_factory=Inventory)
    read_only: bool = False
    timeout: float = 10
    ask_password: AskPassword | None = None
    facts_changed: Callable[[Facts], None] = lambda facts: None
    runs: list[Run] = field(default_factory=list)
    _session: Session | None = None
    _poller: Poller | None = None
    _connecting: asyncio.Task[None] | None = None
    _tasks: set[asyncio.Task[Any]] = field(default_factory=set)
    _others: dict[str, Session] = field(default_factory=dict)

    @property
    def poller(self) -> Poller:
        """The feeds of this target."""
        if self._poller is None:
            raise RuntimeError("the desk is not open")
        return self._poller

    @property
    def is_open(self) -> bool:
        """Whether views can be asked."""
        return self._poller is not None

    @property
    def facts(self) -> Facts | None:
        """What is known of the target; None until it has answered."""
        if self._session is None or not self._session.known:
            return None
        return self._session.facts

    @property
    def running(self) -> list[Run]:
        """The runs that have not ended."""
        return [r for r in self.runs if not r.finished.is_set()]

    def open(self) -> None:
        """Make the session and start its poller; connecting is the poller's business."""
        from backend.core.hosts import host_for
        from backend.core.session import Session

        host = host_for(self.target)
        self._session = Session(
            self.target,
            host,
            timeout=self.timeout,
            ask_password=self.ask_password,
            other=self.inventory.get,
        )
        self._poller = Poller(self._session, changed=lambda facts: self.facts_changed(facts))
        self._poller.start()
        self._connecting = asyncio.create_task(self._connect())

    async def _connect(self) -> None:
        """Begin to connect before anybody asks: the server works while the first frame is painted."""
        from backend.core.errors import PgtuiError

        with contextlib.suppress(PgtuiError):
            await self._open_session().ready()

    async def close(self) -> None:
        """Stop polling and close every connection."""
        if self._connecting:
            self._connecting.cancel()
        if self._poller:
            await self._poller.stop()
        for session in (self._session, *self._others.values()):
            if session:
                await session.close()
        self._session = self._poller = None

    def feed(self, view: Any, **params: Any) -> Feed:
        """The feed of a view."""
        return self.poller.feed(view, **params)

    async def ask(self, view: Any, **params: Any) -> list[Any]:
        """The view's rows now."""
        rows: list[Any] = await view.ask(self._open_session(), **params)
        return rows

    def ceremony(self, plan: Plan) -> Confirmation:
        """What confirms the plan on this target."""
        from backend.core.confirm import confirmation

        return confirmation(plan, self.target)

    async def plan(self, action: Action, values: Mapping[str, Any]) -> Plan:
        """The action's plan for these values; refused here when nothing may be changed."""
        from backend.core.confirm import forbid
        from backend.core.run import make_plan

        session = self._open_session()
        plan = await make_plan(session, action, values)
        forbid(plan, self.target, self.read_only)
        return plan

    async def begin(self, draft: Draft, values: Mapping[str, Any]) -> str:
        """What a text that is made in an editor begins as."""
        return await draft(self._open_session(), values)

    async def confirmed(
        self, action: Action, values: Mapping[str, Any], plan: Plan, journal: Journal | None = None
    ) -> Run:
        """A run of a confirmed plan, after planning again; refused when the plan has become another one."""
        from backend.core.run import Run, make_plan

        session = self._open_session()
        again = await make_plan(session, action, values)
        if again.shape != plan.shape:
            raise Refused(
                "the plan has changed since it was shown; nothing was run",
                hint="look at it again and confirm what it says now",
            )
        run = Run(
            session,
            action,
            values,
            plan,
            read_only=self.read_only,
            session_of=self._session_of,
            journal=journal,
        )
        self.runs.append(run)
        return run

    def carry_out(self, run: Run, ended: Callable[[Run], None]) -> None:
        """Start the run in the background; leaving the room does not stop it."""

        async def work() -> None:
            await run.execute()
            await self._look_again()
            ended(run)

        task = asyncio.create_task(work(), name=f"run {run.action.name}")
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def end_runs(self) -> None:
        """Cancel what is going on; a server that does not answer is not waited for long."""
        ending = [asyncio.create_task(self._end(run)) for run in self.running]
        if ending:
            await asyncio.wait(ending, timeout=PATIENCE)

    @staticmethod
    async def _end(run: Run) -> None:
        await run.cancel()
        await run.finished.wait()

    async def _look_again(self) -> None:
        """What a run has installed or changed is seen at once."""
        from backend.core.errors import PgtuiError

        with contextlib.suppress(PgtuiError):  # it may have stopped the server
            self.facts_changed(await self._open_session().refresh_facts())
        if self.is_open:
            self.poller.refresh()

    async def _session_of(self, name: str) -> Session:
        from backend.core.hosts import host_for
        from backend.core.session import Session

        if name not in self._others:
            target = self.inventory.get(name)
            self._others[name] = Session(target, host_for(target), timeout=self.timeout)
        return self._others[name]

    def sql_of(self, view: Any) -> str:
        """The statements that the view sent last, for this server's version, as psql takes them."""
        from backend.core.rendering import filled

        sent = self._open_session().sent.get(view.name, {})
        statements = [filled(text, params).strip() + ";" for text, params in sent.items()]
        return "\n\n".join(statements) or "the view has not been asked yet"

    async def parameters(self) -> dict[str, Any]:
        """The connection parameters as libpq takes them, through a forward where that is needed."""
        from backend.core.connection import resolve

        session = self._open_session()
        return await resolve(self.target, session.host, self.target.dsn)

    def _open_session(self) -> Session:
        if self._session is None:
            raise Refused(f"{self.target.label} is not open")
        return self._session


def command_line(target: Target, action: Action, values: Mapping[str, Any]) -> str:
    """The `pgtui run-action` line that does the same; secrets are left to the prompt."""
    words = ["pgtui", "run-action", action.name, *target_words(target)]
    if target.dbname:
        words += ["--dbname", target.dbname]
    for param in action.params:
        words += _option(param, values.get(param.name))
    return shlex.join(words)


def show_line(target: Target, view: View[Any], asked: Mapping[str, Any]) -> str:
    """The `pgtui show` line that gives the same rows."""
    words = ["pgtui", "show", view.name, *target_words(target)]
    if target.dbname:
        words += ["--dbname", target.dbname]
    for param in view.params:
        words += _option(param, asked.get(param.name))
    return shlex.join(words)


def target_words(target: Target) -> list[str]:
    """The options that name the target: an inventory's name, or the DSN without its password."""
    from psycopg.conninfo import conninfo_to_dict, make_conninfo

    if target.listed:
        return ["--target", target.name]
    if not target.dsn:
        return []
    given = {k: v for k, v in conninfo_to_dict(target.dsn).items() if k not in ("password", "sslpassword")}
    return ["--target", make_conninfo("", **given)]


def _option(param: Param, value: Any) -> list[str]:
    if value is None or param.ask.secret or value == param.default:
        return []
    if isinstance(value, bool):
        return [param.option if value else f"--no-{param.option[2:]}"]
    values = value if isinstance(value, list) else [value]
    return [word for v in values for word in (param.option, param.text(v))]
