"""Rules of pg_hba.conf that are right before they are loaded, and never lock us out."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest

from backend.core.declare import Danger
from backend.core.errors import Missing, Refused, Usage
from tests.rooms.cluster.kinds import Operating, Subject, operating, subject
from tests.rooms.cluster.mounting import mounts
from tests.rooms.jobmon.conftest import Console, Consoles, consoles
from tests.servers import OwnClusters, Server

__all__ = ["consoles", "operating", "subject"]

ADD, REMOVE, EDIT = "cluster.add_hba_rule", "cluster.remove_hba_rule", "cluster.edit_hba"


def hba(server: Server) -> Path:
    return server.data / "pg_hba.conf"


def rules(server: Server) -> list[str]:
    return [line for line in hba(server).read_text().splitlines() if line and not line.startswith("#")]


def kept(file: Path) -> bytes:
    return Path(f"{file}.pgtui~").read_bytes()


def owner(path: str) -> str:
    return Path(path).owner()


def contents(folder: Path) -> dict[str, str | None]:
    return {p.name: p.read_text() if p.suffix else None for p in folder.iterdir()}


def fill(file: Path) -> None:
    """Write until the file system is full."""
    with file.open("wb", buffering=0) as filler, pytest.raises(OSError, match="No space left"):
        while True:
            filler.write(b"x" * 4096)


def gets_in(server: Server, user: str) -> bool:
    try:
        psycopg.connect(server.dsn(user=user)).close()
    except psycopg.OperationalError as e:
        assert "pg_hba.conf" in str(e)
        return False
    return True


@pytest.fixture
def restarted(own_cluster: OwnClusters) -> Iterator[Server]:
    """A server that has to start again and let the DBA in when the test is over."""
    made = own_cluster()
    made.psql("CREATE ROLE bob LOGIN")
    yield made
    made.restart()
    assert made.psql("SELECT 1") == [(1,)]


async def test_a_rule_is_added_before_another_and_removed(restarted: Server, consoles: Consoles) -> None:
    console = await consoles(restarted.dsn())
    file, before = hba(restarted), hba(restarted).read_bytes()
    file.chmod(0o640)
    about = file.stat()
    wanted = {"type": "local", "database": "all", "user": "bob", "method": "reject", "before": 1}
    plan = await console.plan(ADD, **wanted)
    assert (plan.subject, plan.danger) == (str(file), Danger.CHANGE)
    assert "+local   all             bob                                     reject\n" in plan.steps[1].text
    assert file.read_bytes() == before
    assert gets_in(restarted, "bob")

    assert await console.done(ADD, **wanted) == {"file": str(file), "line": 1}
    assert not gets_in(restarted, "bob")
    now = file.stat()
    assert (now.st_mode, now.st_uid, now.st_gid) == (about.st_mode, about.st_uid, about.st_gid)
    assert kept(file) == before
    with pytest.raises(Refused, match="holds no rule") as refused:
        await console.plan(REMOVE, line=2)
    assert "the nearest are in line 1," in str(refused.value.hint)

    assert await console.done(REMOVE, line=1) == {"file": str(file), "line": 1}
    assert file.read_bytes() == before
    assert gets_in(restarted, "bob")


async def test_names_are_quoted_where_they_need_it_and_lists_are_kept(
    restarted: Server, consoles: Consoles
) -> None:
    restarted.psql('CREATE ROLE "odd one" LOGIN')
    console = await consoles(restarted.dsn())
    users = 'odd one,+pg_monitor,"all"'
    await console.done(ADD, type="local", database="postgres", user=users, method="reject", before=1)
    [(found,)] = restarted.psql("SELECT user_name FROM pg_hba_file_rules ORDER BY line_number LIMIT 1")
    assert found == ["odd one", "+pg_monitor", "all"]
    assert not gets_in(restarted, "odd one")
    assert gets_in(restarted, "bob")  # "all" in quotes is a name


@pytest.mark.parametrize(
    ("given", "kind", "sentence"),
    [
        ({"type": "host"}, Usage, "a host rule wants --address"),
        ({"address": "10.0.0.0/8"}, Usage, "a local rule is for the server's socket"),
        ({"type": "host", "address": "10.0.0.1"}, Usage, "--address 10.0.0.1 wants how much of it counts"),
        ({"type": "host", "address": "10.0.0.0/33"}, Usage, "10.0.0.0/33 is no address"),
        ({"type": "host", "address": "all", "method": "peer"}, Usage, "peer asks the system"),
        ({"type": "host", "address": "all", "method": "cert"}, Usage, "only for --type hostssl"),
        ({"method": "md55"}, Usage, "md55 is no method of authentication"),
        ({"user": ""}, Usage, "--database and --user want a name each"),
        ({"user": "a,,b"}, Usage, "is no list of names"),
        ({"user": "a\nlocal all all trust"}, Usage, "a rule is one line"),
        ({"options": "map=a\nlocal all all trust"}, Usage, "a rule is one line"),
        ({"before": 0}, Refused, "has no line 0"),
        ({"before": 9999}, Refused, "has no line 9999"),
        ({"file": "/etc/passwd"}, Usage, "there is no file of the rules called /etc/passwd"),
        ({"user": "all", "before": 1}, Refused, "line 1 would lock us out: it rejects dba in database"),
    ],
)
async def test_what_makes_no_rule_or_locks_us_out_is_refused(
    server: Server, consoles: Consoles, given: dict[str, object], kind: type[Exception], sentence: str
) -> None:
    console = await consoles(server.dsn())
    before = hba(server).read_bytes()
    usual: dict[str, object] = {"type": "local", "database": "all", "user": "bob", "method": "reject"}
    with pytest.raises(kind, match=sentence):
        await console.plan(ADD, **usual | given)
    assert hba(server).read_bytes() == before


async def test_a_rule_that_we_do_not_pass_is_taken_back(restarted: Server, consoles: Consoles) -> None:
    console = await consoles(restarted.dsn())
    before = hba(restarted).read_bytes()
    wanted = {"type": "local", "database": "all", "user": "dba", "method": "scram-sha-256", "before": 1}
    plan = await console.plan(ADD, **wanted)
    assert "we would get in by line 1, scram-sha-256, from then on; a new connection proves it" in plan.notes
    report = await console.run(ADD, **wanted)
    assert report.error is not None
    assert "no password supplied" in report.error.message
    assert hba(restarted).read_bytes() == before
    assert gets_in(restarted, "dba")


async def test_what_only_the_server_finds_wrong_is_taken_back(restarted: Server, consoles: Consoles) -> None:
    console = await consoles(restarted.dsn())
    before = hba(restarted).read_bytes()
    report = await console.run(ADD, type="local", database="all", user="bob", method="radius")
    assert report.error is not None
    assert report.error.message.endswith("the old file was put back")
    assert 'authentication method "radius" requires argument' in report.error.message
    assert hba(restarted).read_bytes() == before
    assert restarted.psql("SELECT 1 FROM pg_hba_file_rules WHERE error IS NOT NULL") == []


async def test_the_last_rule_for_us_is_not_removed(restarted: Server, consoles: Consoles) -> None:
    console = await consoles(restarted.dsn())
    await console.done(EDIT, text="# only we\nlocal all dba trust\nlocal all bob trust\n")
    with pytest.raises(Refused, match="no rule would let us in any more: dba in database postgres"):
        await console.plan(REMOVE, line=2)
    with pytest.raises(Refused, match="no rule would let us in any more"):
        await console.plan(EDIT, text="local all bob trust")
    await console.done(REMOVE, line=3)
    assert not gets_in(restarted, "bob")


async def test_a_line_that_has_changed_since_the_plan_is_left_alone(
    restarted: Server, consoles: Consoles
) -> None:
    console = await consoles(restarted.dsn())
    await console.done(EDIT, text="local all dba trust\nlocal all bob trust\n")
    run = await console.start(REMOVE, line=2)
    hba(restarted).write_text("local all bob trust\nlocal all dba trust\n")
    report = await run.execute()
    assert report.error is not None
    assert "has changed since the plan was made" in report.error.message
    assert rules(restarted) == ["local all bob trust", "local all dba trust"]


async def test_a_broken_line_is_named_and_can_be_removed(restarted: Server, consoles: Consoles) -> None:
    console = await consoles(restarted.dsn())
    text = "local all all trust\nhots all all trust\n"
    hba(restarted).write_text(text)
    with pytest.raises(
        Refused, match=r"no rule while .*pg_hba.conf line 2 is wrong: invalid connection type"
    ):
        await console.plan(ADD, type="local", database="all", user="bob", method="reject")
    with pytest.raises(Refused, match=r"line 1 would be wrong: hots is no type of connection"):
        await console.plan(EDIT, text="hots all all trust\nlocal all all trust\n")
    await console.done(REMOVE, line=2)
    assert rules(restarted) == ["local all all trust"]


async def test_a_rule_that_fits_nothing_now_is_added_with_a_remark(
    restarted: Server, consoles: Consoles
) -> None:
    console = await consoles(restarted.dsn())
    wanted = {"type": "hostssl", "database": "nosuch", "user": "bob,nobody", "method": "trust"}
    plan = await console.plan(ADD, address="0.0.0.0/0", **wanted)
    assert plan.notes[:5] == (
        "there is no database nosuch yet",
        "there is no role nobody yet",
        "trust: whoever reaches the port from there is let in without a password",
        "it is for every address there is",
        "ssl is off: a hostssl rule fits no connection",
    )
    await console.done(ADD, address="0.0.0.0/0", **wanted)
    plan = await console.plan(ADD, type="local", database="all", user="bob", method="reject")
    assert any("stands before it: it never decides" in note for note in plan.notes)


async def test_a_line_with_continuations_is_one_rule(restarted: Server, consoles: Consoles) -> None:
    console = await consoles(restarted.dsn())
    await console.done(EDIT, text="local all dba trust\nlocal \\\n all \\\n bob trust\n")
    with pytest.raises(Refused, match=r"line 3 of .* belongs to the line before it"):
        await console.plan(ADD, type="local", database="all", user="bob", method="reject", before=3)
    await console.done(REMOVE, line=2)
    assert rules(restarted) == ["local all dba trust"]


async def test_rules_of_included_files_are_changed_where_they_stand(
    restarted: Server, consoles: Consoles
) -> None:
    if restarted.major < 16:
        pytest.skip("files are included in pg_hba.conf from PostgreSQL 16 on")
    console = await consoles(restarted.dsn())
    more = restarted.data / "more.conf"
    more.write_text("local all bob reject\n")
    restarted.cluster.account.own(more)
    await console.done(EDIT, text="include more.conf\nlocal all all trust\n")
    assert not gets_in(restarted, "bob")
    with pytest.raises(Refused, match="line 1 would lock us out"):
        await console.plan(
            ADD, type="local", database="all", user="dba", method="reject", before=1, file=str(more)
        )
    assert await console.done(REMOVE, line=1, file=str(more)) == {"file": str(more), "line": 1}
    assert gets_in(restarted, "bob")


async def test_a_text_that_says_the_same_does_nothing(server: Server, consoles: Consoles) -> None:
    console = await consoles(server.dsn())
    plan = await console.plan(EDIT, text=hba(server).read_text().rstrip("\n"))
    assert (plan.steps, plan.notes) == ((), (f"{hba(server)} is as it was",))
    with pytest.raises(Usage, match="a terminal on which"):
        await console.plan(EDIT)


async def test_a_role_that_may_not_read_the_rules_is_told_what_lets_it(
    restarted: Server, consoles: Consoles
) -> None:
    console = await consoles(restarted.dsn(user="bob"))
    with pytest.raises(Missing) as missing:
        await console.plan(REMOVE, line=1)
    assert "GRANT EXECUTE ON FUNCTION pg_catalog.pg_hba_file_rules()" in str(missing.value.hint)


@pytest.fixture
def full(restarted: Server) -> Iterator[Path]:
    """The server's pg_hba.conf in a file system of 64 kB that is full."""
    folder = restarted.cluster.folder / "small"
    restarted.cluster.account.make_folder(folder)
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64k,mode=0700", "tmpfs", folder], check=True)
    restarted.cluster.account.own(folder)
    file = folder / "pg_hba.conf"
    file.write_text("local all all trust\n")
    restarted.cluster.account.own(file)
    restarted.configure(hba_file=str(file))
    restarted.restart()
    fill(folder / "filler")
    yield file
    restarted.configure(hba_file=str(hba(restarted)))
    restarted.stop()
    subprocess.run(["umount", folder], check=True)
    restarted.start()


@pytest.mark.skipif(not mounts(), reason="file systems cannot be mounted here")
async def test_a_disk_that_is_full_leaves_the_file_as_it_was(
    restarted: Server, full: Path, consoles: Consoles
) -> None:
    console: Console = await consoles(restarted.dsn())
    report = await console.run(ADD, type="local", database="all", user="bob", method="reject", before=1)
    assert report.error is not None
    assert "No space left on device" in report.error.message
    assert contents(full.parent) == {"filler": None, "pg_hba.conf": "local all all trust\n"}
    assert gets_in(restarted, "bob")


async def test_servers_of_every_kind_take_a_rule_and_start_with_it(
    subject: Subject, operating: Operating
) -> None:
    console = operating(subject)
    await console.done("cluster.start")
    subject.ask("CREATE ROLE bob LOGIN")
    wanted = {"type": "local", "database": "all", "user": "bob", "method": "reject", "before": 1}
    told = await console.done(ADD, **wanted)
    assert owner(told["file"]) == subject.data.owner()
    await console.done("cluster.restart")
    with pytest.raises(psycopg.OperationalError, match=r"pg_hba\.conf rejects"):
        psycopg.connect(subject.dsn, user="bob")
    await console.done(REMOVE, line=1)
    psycopg.connect(subject.dsn, user="bob").close()
