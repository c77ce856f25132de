"""The steps that signal sessions, each checking in the same statement that it still is the same session."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from psycopg import sql

from backend.activity.victims import MAY_SIGNAL, Victim
from backend.core.plan import Answers, Check, Step, Wait, over
from backend.core.show import counted

TERMINATED = "terminated"
STILL_THERE = "still there"
NOT_PERMITTED = "not permitted"
CANCELLED = "cancel sent"

ANYTHING = sql.SQL("true")
_MAY_SIGNAL = sql.SQL(MAY_SIGNAL)

# Each gets 5 s to go, all together 30 s: several that hang in the kernel must not hold up the run for long.
_TERMINATE = """
SELECT v.pid,
       CASE WHEN a.pid IS NULL THEN 'gone already'
            WHEN NOT coalesce({condition}, false) THEN 'no longer so, left alone'
            WHEN NOT coalesce({may_signal}, false) THEN 'not permitted'
            WHEN pg_catalog.pg_terminate_backend(v.pid, least(5000, 30000 / v.together)) THEN 'terminated'
            ELSE 'still there'
       END AS outcome
  FROM (SELECT k.pid, k.backend_start, pg_catalog.count(*) OVER () AS together
          FROM ({keys}) AS k(pid, backend_start)) v
  LEFT JOIN pg_catalog.pg_stat_activity a ON a.pid = v.pid AND a.backend_start = v.backend_start
  LEFT JOIN pg_catalog.pg_roles r ON r.oid = a.usesysid"""

_CANCEL = """
SELECT v.pid,
       CASE WHEN a.pid IS NULL THEN 'gone already'
            WHEN a.state IS DISTINCT FROM 'active' OR a.query_start IS DISTINCT FROM v.query_start
            THEN 'that statement has ended already'
            WHEN NOT coalesce({may_signal}, false) THEN 'not permitted'
            WHEN pg_catalog.pg_cancel_backend(v.pid) THEN 'cancel sent'
            ELSE 'the server did not signal it'
       END AS outcome
  FROM ({keys}) AS v(pid, backend_start, query_start)
  LEFT JOIN pg_catalog.pg_stat_activity a ON a.pid = v.pid AND a.backend_start = v.backend_start
  LEFT JOIN pg_catalog.pg_roles r ON r.oid = a.usesysid"""


def terminate(victims: Sequence[Victim], condition: sql.Composable = ANYTHING) -> tuple[Step, ...]:
    """End these sessions where the condition on `a` still holds, and fail when one would not go."""
    if not victims:
        return ()
    step = over(
        _TERMINATE,
        [(v.pid, v.backend_start) for v in victims],
        [str(v.pid) for v in victims],
        {"condition": condition, "may_signal": _MAY_SIGNAL},
        note=counted(victims, "session"),
    )
    return step, Check(
        lambda answers: not _failed(answers),
        that="every session that was signalled has ended",
        otherwise=_what_failed,
        hint="what hangs in the kernel, or in code that looks for no signal, ends when that returns",
    )


def cancel(victim: Victim) -> tuple[Step, ...]:
    """Cancel the statement that the session is running now, and wait until it has ended."""
    key = (victim.pid, victim.backend_start, victim.query_start)
    same = sql.SQL(
        "SELECT NOT EXISTS (SELECT FROM pg_catalog.pg_stat_activity a"
        " WHERE (a.pid, a.backend_start, a.query_start) = ({}) AND a.state = 'active')"
    ).format(sql.SQL(", ").join(sql.Literal(k) for k in key))
    return (
        over(_CANCEL, [key], [str(victim.pid)], {"may_signal": _MAY_SIGNAL}),
        Check(
            lambda answers: _outcomes(answers[:1])[0] not in (NOT_PERMITTED, "the server did not signal it"),
            that="the server took the cancel",
            otherwise=lambda answers: f"process {victim.pid}: {_outcomes(answers[:1])[0]}",
        ),
        Wait(same, until="the statement has ended", deadline=5, every=0.05),
    )


def told_of_cancel(answers: Answers) -> list[dict[str, Any]]:
    """What became of the statement; the last step has seen it end."""
    return [
        {"pid": row["pid"], "cancelled": row["outcome"] == CANCELLED, "outcome": row["outcome"]}
        for row in answers[0].rows
    ]


def told_of_termination(answers: Answers) -> list[dict[str, Any]]:
    """What became of each session."""
    return [
        {"pid": row["pid"], "terminated": row["outcome"] == TERMINATED, "outcome": row["outcome"]}
        for row in answers[0].rows
    ]


def _outcomes(answers: Answers) -> list[str]:
    return [row["outcome"] for row in answers[0].rows]


def _failed(answers: Answers) -> list[Any]:
    return [r for r in answers[-1].rows if r["outcome"] in (STILL_THERE, NOT_PERMITTED)]


def _what_failed(answers: Answers) -> str:
    rows = answers[-1].rows
    by_outcome: dict[str, list[str]] = {}
    for row in rows:
        by_outcome.setdefault(row["outcome"], []).append(str(row["pid"]))
    return "; ".join(f"{outcome}: {', '.join(pids)}" for outcome, pids in by_outcome.items())
