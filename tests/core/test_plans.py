"""Plans as they are shown, fingerprinted and confirmed."""

from __future__ import annotations

import subprocess
from collections.abc import Collection
from typing import Any

import psycopg
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from psycopg import sql

from backend.core.confirm import Ceremony, authorize, confirmation, forbid
from backend.core.declare import Danger
from backend.core.errors import Refused, Usage
from backend.core.plan import Command, Copy, Plan, Sql, over, statement
from backend.core.rendering import SecretLiteral, executable, filled, inlined, preview
from backend.core.target import Guard, Target
from tests.servers import Database

# What a name can hold on a server: anything but a zero byte, and no more than 63 bytes.
names = st.text(
    st.characters(exclude_characters="\0", exclude_categories=["Cs"]) | st.sampled_from("'\"\\%{}$;"),
    min_size=1,
    max_size=15,
)


@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(names, names)
def test_what_is_shown_does_in_psql_what_is_sent(database: Database, name: str, value: str) -> None:
    made = sql.SQL("CREATE TABLE public.{} AS SELECT {}::text AS what").format(
        sql.Identifier(name), sql.Literal(value)
    )
    step = Sql((made,))
    program = database.server.installation.bindir / "psql"
    subprocess.run(
        [program, "-X", "-q", "-v", "ON_ERROR_STOP=1", "-d", database.dsn],
        input=step.text.encode(),
        check=True,
        capture_output=True,
    )
    with psycopg.connect(database.dsn, autocommit=True) as connection:
        [(kept,)] = connection.execute(sql.SQL("TABLE public.{}").format(sql.Identifier(name))).fetchall()
        connection.execute(sql.SQL("DROP TABLE public.{}").format(sql.Identifier(name)))
        connection.execute(executable(made)[0])
        [(sent,)] = connection.execute(sql.SQL("TABLE public.{}").format(sql.Identifier(name))).fetchall()
        connection.execute(sql.SQL("DROP TABLE public.{}").format(sql.Identifier(name)))
    assert (kept, sent) == (value, value)


@given(names, names)
def test_a_secret_is_never_shown_and_what_is_sent_is_what_is_shown(name: str, secret: str) -> None:
    made = sql.SQL("SELECT {} AS {} -- 100%").format(SecretLiteral(secret), sql.Identifier(name))
    text, params = executable(made)
    assert params == [secret]
    assert text.replace(b"%%", b"%") == preview(made).encode().replace(b"'****'", b"%s", 1)
    assert secret == "*" or len(secret) < 5 or secret in name or secret not in preview(made)
    assert inlined(sql.SQL("x")) == b"x"


def test_names_that_no_server_can_hold_are_refused() -> None:
    for name in ("a\0b", "a\ud800"):
        with pytest.raises(Usage):
            preview(sql.Identifier(name))
    assert executable(sql.Identifier("caf\udce9"))[0] == b'"caf\xe9"'


def test_a_fingerprint_covers_what_runs_and_nothing_else() -> None:
    step = statement("SELECT 1")
    plan = Plan("s", (step,))
    same = Plan("s", (statement("SELECT 1", note="3 rows"),), notes=("old",), rows=((1,),))
    assert plan.fingerprint == same.fingerprint
    others = [
        Plan("t", (step,)),
        Plan("s", (step,), danger=Danger.DISRUPT),
        Plan("s", (statement("SELECT 2"),)),
        Plan("s", (statement("SELECT 1", dbname="other"),)),
        Plan("s", (statement("SELECT 1", on="other"),)),
        Plan("s", (statement("SELECT 1", undo=step),)),
        Plan("s", (), always=(step,)),
        Plan("s", (step, step)),
        Plan("s", (Command(("a",)),)),
        Plan("s", (Command(("a",), stdin=b"x"),)),
        Plan("s", (Copy(sql.SQL("c"), data=b"x"),)),
        Plan("s", (Copy(sql.SQL("c"), data=b"y"),)),
    ]
    assert len({p.fingerprint for p in (plan, *others)}) == len(others) + 1


def test_a_shrunk_selection_keeps_its_shape() -> None:
    two, one = (
        Plan("s", (over("SELECT f(k) FROM ({keys}) AS w(k)", keys, [str(k) for k in keys]),))
        for keys in ([(1,), (2,)], [(1,)])
    )
    assert two.shape == one.shape
    assert two.fingerprint != one.fingerprint
    assert "VALUES (1), (2)" in two.steps[0].text


def test_commands_and_files_show_no_password() -> None:
    assert Command(("psql", "postgresql://u:hush@h/d")).text == "psql 'postgresql://u:****@h/d'"
    assert "hush" not in statement("CREATE SUBSCRIPTION s CONNECTION 'password=hush' PUBLICATION p").text


def a_plan(danger: Danger) -> Plan:
    return Plan("sub", (statement("SELECT 1"),), danger=danger)


N, C, I, D = Danger.NONE, Danger.CHANGE, Danger.DISRUPT, Danger.DESTROY  # noqa: E741


@pytest.mark.parametrize(
    ("danger", "guard", "ceremony", "word"),
    [
        (N, "", "none", ""), (C, "", "enter", ""), (I, "", "ask", ""), (D, "", "type", "sub"),
        (N, "name", "none", ""), (C, "name", "type", "t"), (I, "name", "type", "t"), (D, "name", "type", "t"),
    ],
)  # fmt: skip
def test_what_confirms_a_plan(danger: Danger, guard: Guard, ceremony: Ceremony, word: str) -> None:
    wanted = confirmation(a_plan(danger), Target("t", guard=guard))
    assert (wanted.ceremony, wanted.word) == (ceremony, word)


@pytest.mark.parametrize(
    ("danger", "guard", "yes", "words", "several", "allowed"),
    [
        (N, "", False, (), False, True),
        (C, "", False, (), False, True),
        (I, "", False, (), False, False),
        (I, "", True, (), False, True),
        (I, "", False, ("sub",), False, True),
        (I, "", False, ("t/sub",), True, True),
        (D, "", True, (), False, False),
        (D, "", True, ("other",), False, False),
        (D, "", False, ("sub",), False, True),
        (D, "", False, ("t/sub",), False, True),
        (D, "", True, ("sub",), True, False),
        (D, "", False, ("u/sub", "t/sub"), True, True),
        (N, "name", False, (), False, True),
        (C, "name", True, (), False, False),
        (C, "name", False, ("sub",), False, False),
        (C, "name", False, ("t",), False, True),
        (I, "name", True, ("t",), True, True),
        (D, "name", True, ("sub",), False, False),
        (D, "name", False, ("t",), False, True),
        (D, "name", False, ("t",), True, False),
        (D, "name", False, ("t/sub",), True, True),
    ],
)
def test_what_the_command_line_has_to_say(
    danger: Danger, guard: Guard, yes: bool, words: Collection[str], several: bool, allowed: bool
) -> None:
    said: Any = {"yes": yes, "words": words, "several": several}
    if allowed:
        authorize(a_plan(danger), Target("t", guard=guard), **said)
        return
    with pytest.raises(Refused) as refused:
        authorize(a_plan(danger), Target("t", guard=guard), **said)
    assert refused.value.hint in (
        "add --yes to run it",
        "add --confirm sub",
        "add --confirm t",
        "add --confirm t/sub",
    )


@pytest.mark.parametrize("danger", [C, I, D])
def test_nothing_changes_a_target_that_may_only_be_read(danger: Danger) -> None:
    for target, read_only in ((Target("t", guard="read-only"), False), (Target("t"), True)):
        with pytest.raises(Refused):
            forbid(a_plan(danger), target, read_only)
        forbid(a_plan(N), target, read_only)
        forbid(Plan("sub", (), danger=danger), target, read_only)


def test_a_query_is_shown_with_its_parameters_as_psql_takes_it() -> None:
    shown = filled(b"SELECT %s || '100%%' LIMIT %s", ["it's %s", 3])
    assert shown == "SELECT 'it''s %s' || '100%' LIMIT 3"
    assert filled(b"SELECT 5 %% 3", ()) == "SELECT 5 % 3"
