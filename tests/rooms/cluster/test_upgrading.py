"""Real upgrades by pg_upgradecluster, from the version that Debian packages to the embedded one.

They run in name spaces of their own, where the embedded server lies as a package would lay it and the
folders of postgresql-common are empty; the machine sees nothing of it, and all of it ends with the test.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from backend.lab.cluster import free_port
from backend.lab.servers import Installation, find_installations
from tests.rooms.cluster.kinds import common_major
from tests.rooms.cluster.mounting import apart_from_the_machine
from tests.servers import Workspace

PGTUI = Path(sys.executable).with_name("pgtui")

# Packages part a version's files in two places; of the embedded one both are the same folder.
_FURNISH = """\
set -e
old=$1 new=$2 embedded=$3 port=$4; shift 4
# A server that is killed leaves its shared memory behind.
trap 'for each in $old $new; do pg_ctlcluster $each orders stop || :; done >/dev/null 2>&1' EXIT
for top in /usr/lib/postgresql /usr/share/postgresql; do
    kept=$(mktemp -d)
    mount --bind $top/$old "$kept"
    mount -t tmpfs -o mode=755 tmpfs $top
    mkdir $top/$old
    mount --move "$kept" $top/$old
    rmdir "$kept"
done
ln -s "$embedded" /usr/lib/postgresql/$new
ln -s "$embedded/share" /usr/share/postgresql/$new
for each in /etc /var/lib /var/log /run; do
    mkdir -p $each/postgresql
    mount -t tmpfs -o mode=755 tmpfs $each/postgresql
    chown postgres:postgres $each/postgresql
done
sql() { psql -XAtq -v ON_ERROR_STOP=1 -h /run/postgresql -p $port -U postgres "$@"; }
port_of() { sed -n 's/^port = \\([0-9]*\\).*/\\1/p' /etc/postgresql/$1/orders/postgresql.conf; }
mode_of() { grep -v '^#' /etc/postgresql/$1/orders/start.conf | tr -d ' \\n'; }
upgrade() { "$pgtui" run-action cluster.upgrade -t "host=/run/postgresql port=$port user=postgres" \\
    --to $new -o json "$@"; }
state() {
    echo "old=$(mode_of $old) $(port_of $old) $(pg_lsclusters -h $old orders | awk '{ print $4 }')"
    if [ -e /etc/postgresql/$new/orders ]; then echo "new=$(mode_of $new) $(port_of $new)"; fi
    major="current_setting('server_version_num')::int / 10000"
    sql -c "SELECT 'answers=' || $major || ' with ' || count(*) FROM t"
}
"""

# The embedded server has no SSL, and does not know an option that a release of 15 gives each column.
_MAKE = """\
pg_createcluster --port $port $old orders -- --auth=trust $checksums >/dev/null
pg_conftool $old orders set ssl off
pg_ctlcluster $old orders start
sql -c 'CREATE TABLE t AS SELECT i FROM generate_series(1, 1000) AS i'
sql -c 'UPDATE pg_attribute SET attoptions = NULL WHERE attoptions IS NOT NULL'
"""


@dataclass
class Apart:
    """A system with two majors, in name spaces of its own."""

    old: int
    new: Installation
    folder: Path
    port: int

    def run(self, script: str, *, checksums: bool = True, disk: Path | None = None) -> dict[str, Any]:
        """What a script says after a server with a table is made: pgtui's answers, and lines `name=value`.

        With `disk`, the image of a file system, the data folders are on that.
        """
        given = f"pgtui={PGTUI} checksums={'--data-checksums' if checksums else ''}\n"
        if disk:
            given += (
                f"mount -o loop {disk} /var/lib/postgresql; chown postgres:postgres /var/lib/postgresql\n"
            )
        embedded = self.new.bindir.parent
        words = [
            *apart_from_the_machine(), "--pid", "--fork", "--mount-proc", "--kill-child",
            "sh", "-c", _FURNISH + given + _MAKE + script, "sh",
            str(self.old), str(self.new.major), str(embedded), str(self.port),
        ]  # fmt: skip
        environment = {k: v for k, v in os.environ.items() if not k.startswith("PG")}
        done = subprocess.run(
            words, env=environment | {"XDG_STATE_HOME": str(self.folder)}, cwd="/",
            stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=300, check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr + done.stdout
        lines = done.stdout.splitlines()
        runs = [json.loads(line) for line in lines if line.startswith("{")]
        told = dict(line.split("=", 1) for line in lines if "=" in line and not line.startswith("{"))
        return {"runs": runs, **told}


def lacking() -> str:
    """What this machine lacks for an upgrade; empty when it has everything."""
    if os.getuid() != 0:
        return "only root may have name spaces of its own"
    if subprocess.run([*apart_from_the_machine(), "--pid", "--fork", "true"], capture_output=True).returncode:
        return "this system gives nobody name spaces of its own"
    if common_major() is None:
        return "postgresql-common is not on this machine"
    return "" if find_installations()[0].origin == "embedded" else "there is no embedded server to upgrade to"


def wants_packages() -> bool:
    """Whether pg_upgradecluster compares the packages of both versions, as Debian 13's does."""
    program = shutil.which("pg_upgradecluster")
    return program is not None and "--force-packages" in Path(program).read_text()


@pytest.fixture
def apart(workspace: Workspace) -> Apart:
    """A system with two majors."""
    if reason := lacking():
        if os.environ.get("CI"):
            pytest.fail(reason)
        pytest.skip(reason)
    old = common_major()
    assert old is not None
    new = workspace.within_reach(find_installations()[0])
    return Apart(old, new, workspace.new_folder("apart"), free_port())


@pytest.mark.parametrize("method", ["upgrade", "dump"])
def test_a_server_is_taken_to_another_major_and_the_old_one_stays_down(apart: Apart, method: str) -> None:
    told = apart.run(f"upgrade --method {method} --dry-run; upgrade --method {method} --yes; state")
    rehearsed, done = told["runs"]
    assert (rehearsed["status"], done["status"]) == ("dry-run", "ok"), done
    forced = [step["text"] for step in done["steps"] if "--force-packages" in step["text"]]
    reasons = [note for note in done["notices"] if f"postgresql-{apart.new.major}" in note]
    assert (len(forced), len(reasons)) == ((1, 1) if wants_packages() else (0, 0))
    old, new = f"{apart.old}/orders", f"{apart.new.major}/orders"
    assert (done["subject"], done["danger"], done["result"]["cluster"]) == (old, "disrupt", new)
    mode, port, state = told["old"].split()
    assert (mode, state) == ("manual", "down")
    assert port != str(apart.port)
    assert told["new"] == f"auto {apart.port}"
    assert told["answers"] == f"{apart.new.major} with 1000"


def test_sharing_the_files_has_to_be_confirmed_by_name_and_leaves_no_way_back(apart: Apart) -> None:
    old = f"{apart.old}/orders"
    told = apart.run(
        "if upgrade --method link --yes; then exit 1; fi\n"
        f"upgrade --method link --confirm {old}\nstate\n"
        f"ls /var/lib/postgresql/{old}/global/pg_control* | sed 's/.*global./control=/'\n"
    )
    refused, done = told["runs"]
    assert (refused["status"], refused["danger"]) == ("refused", "destroy")
    assert done["status"] == "ok", done
    assert told["answers"] == f"{apart.new.major} with 1000"
    assert told["control"] == "pg_control.old"


@pytest.fixture
def disk(apart: Apart) -> Callable[[bool], Path]:
    """Makes the image of a file system that can clone files, or cannot."""
    if shutil.which("mkfs.xfs", path=f"{os.environ['PATH']}:/usr/sbin:/sbin") is None:
        pytest.skip("mkfs.xfs is not installed")

    def make(clones: bool) -> Path:
        image = apart.folder.with_suffix(".img")
        with image.open("wb") as file:
            file.truncate(512 << 20)
        path = f"{os.environ['PATH']}:/usr/sbin:/sbin"
        words = ["mkfs.xfs", "-q", "-f", "-m", f"reflink={int(clones)}", str(image)]
        subprocess.run(words, env=os.environ | {"PATH": path}, check=True)
        tried = [*apart_from_the_machine(), "mount", "-o", "loop", str(image), "/mnt"]
        if subprocess.run(tried, capture_output=True, check=False).returncode:
            pytest.skip("the image of a file system cannot be mounted here")
        return image

    return make


def test_cloned_files_leave_the_old_server_as_it_was(apart: Apart, disk: Callable[[bool], Path]) -> None:
    told = apart.run(
        "upgrade --method clone --yes; state\n"
        "sql -c 'DELETE FROM t'\n"
        "pg_ctlcluster $old orders start; port=$(port_of $old)\n"
        "sql -c \"SELECT 'kept=' || count(*) FROM t\"",
        disk=disk(True),
    )
    [done] = told["runs"]
    assert (done["status"], done["danger"]) == ("ok", "disrupt"), done
    assert told["answers"] == f"{apart.new.major} with 1000"
    assert told["kept"] == "1000"


CLONE = "if upgrade --method clone --yes; then exit 1; fi; state"


def test_a_file_system_that_clones_nothing_is_told_by_its_name(apart: Apart) -> None:
    told = apart.run(CLONE)
    [run] = told["runs"]
    assert run["status"] == "refused"
    assert run["error"]["message"] == (
        f"the file system of /var/lib/postgresql/{apart.old}/orders, tmpfs, cannot clone files"
    )
    assert told["old"] == f"auto {apart.port} online"


def test_whether_files_can_be_cloned_is_tried_before_the_server_is_stopped(
    apart: Apart, disk: Callable[[bool], Path]
) -> None:
    told = apart.run(CLONE, disk=disk(False))
    [run] = told["runs"]
    assert [step["status"] for step in run["steps"]][:2] == ["failed", "skipped"], run["steps"]
    assert "cannot clone files; --method upgrade copies them" in run["error"]["message"]
    assert told["old"] == f"auto {apart.port} online"


@pytest.mark.parametrize(
    ("sql", "said"),
    [
        ("-d other -c 'CREATE EXTENSION pg_partman'", "lacks what {} uses: extension pg_partman"),
        (
            '-d other -c "CREATE FUNCTION pgq_logutriga() RETURNS trigger LANGUAGE c'
            " AS '\\$libdir/pgq_triggers'\"",
            "lacks what {} uses: library pgq_triggers",
        ),
        (
            "-c 'ALTER DATABASE other ALLOW_CONNECTIONS false'",
            "{} has databases that allow no connections: other",
        ),
    ],
)
def test_what_the_new_version_lacks_is_named_and_nothing_is_stopped(
    apart: Apart, sql: str, said: str
) -> None:
    told = apart.run(f"sql -c 'CREATE DATABASE other'\nsql {sql}\nif upgrade --yes; then exit 1; fi; state")
    [run] = told["runs"]
    assert run["status"] == "refused"
    assert said.format(f"{apart.old}/orders") in run["error"]["message"]
    assert told["old"] == f"auto {apart.port} online"


def test_data_folders_are_where_createcluster_conf_puts_them(apart: Apart) -> None:
    told = apart.run(
        "mount -t tmpfs -o mode=755 tmpfs /srv; usual=/etc/postgresql-common/createcluster.conf\n"
        "(cat $usual; echo \"data_directory = '/srv/%v/%c' # ours\") >/srv/createcluster.conf\n"
        "mount --bind /srv/createcluster.conf $usual\n"
        '"$pgtui" run-action cluster.create -t "host=/run/postgresql port=$port user=postgres" -o json \\\n'
        "  --version $old --name placed --no-start\n"
        "upgrade --yes; state\n"
        "echo folders=$(pg_lsclusters -h | awk '{ print $6 }')"
    )
    created, done = told["runs"]
    assert (created["status"], done["status"]) == ("ok", "ok"), told
    assert created["result"]["data"] == f"/srv/{apart.old}/placed"
    assert told["folders"].split() == [
        f"/var/lib/postgresql/{apart.old}/orders",
        f"/srv/{apart.old}/placed",
        f"/srv/{apart.new.major}/orders",
    ]
    assert told["answers"] == f"{apart.new.major} with 1000"


def test_jobs_for_a_dump_are_refused_where_the_program_takes_none(apart: Apart) -> None:
    told = apart.run(
        "if upgrade --method dump --jobs 2 --yes; then echo done=yes; else echo done=$?; fi; state"
    )
    program = Path(str(shutil.which("pg_upgradecluster"))).read_text()
    refused = "cannot use --jobs with" in program
    assert told["done"] == ("2" if refused else "yes")
    assert told["answers"] == f"{apart.old if refused else apart.new.major} with 1000"


def test_what_a_server_that_is_down_uses_cannot_be_looked_at(apart: Apart) -> None:
    told = apart.run(
        "pg_ctlcluster $old orders stop; upgrade --dry-run || :\npg_ctlcluster $old orders start; state"
    )
    [run] = told["runs"]
    if wants_packages():
        assert run["status"] == "refused"
        assert f"whether {apart.old}/orders uses what they bring cannot be seen" in run["error"]["message"]
    else:
        assert run["notices"][-2].startswith("it could not be asked, so its extensions")
    assert told["answers"] == f"{apart.old} with 1000"


def test_after_an_upgrade_that_failed_the_old_server_runs_again(apart: Apart) -> None:
    """pg_upgrade refuses columns of such a type, once the server is down."""
    told = apart.run(
        "sql -c 'CREATE TABLE kept_from_it (f regproc)'\n"
        "if upgrade --method upgrade --yes; then exit 1; fi\nstate\n"
    )
    [failed] = told["runs"]
    assert failed["status"] == "failed"
    assert failed["error"]["message"].startswith("pg_upgradecluster ended with status 1")
    assert told["answers"] == f"{apart.old} with 1000"
    assert told["old"] == f"auto {apart.port} online"
    assert "new" not in told


def test_what_pg_upgrade_refuses_about_checksums_is_known_before(apart: Apart) -> None:
    told = apart.run(
        "if upgrade --method upgrade --yes; then echo done=yes; else echo done=no; fi; state", checksums=False
    )
    [run] = told["runs"]
    if told["done"] == "yes":  # by a postgresql-common that minds them
        assert told["answers"] == f"{apart.new.major} with 1000"
        return
    assert run["status"] == "refused"
    assert "has no checksums" in run["error"]["message"]
    assert told["old"] == f"auto {apart.port} online"
