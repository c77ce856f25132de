"""The inventory: what it may say, and what is said when it says something else."""

from __future__ import annotations

from pathlib import Path

import pytest

from backend.core.errors import Usage
from backend.core.target import Inventory, dsn_label

WHOLE = """
default = "billing"
[tag.prod]
guard = "name"
run_as = "postgres"
[tag.eu]
guard = "read-only"
[target.billing]
dsn = "service=billing"
act = "service=billing_admin"
ssh = "db1"
tags = ["prod", "eu"]
guard = "name"
peer = "host=db1 port=5432 user=repl"
jobmon_log = true
[target.billing.pooler]
dsn = "port=6432"
[target.billing.backup]
tool = "pgbackrest"
stanza = "billing"
config = "/etc/pgbackrest.conf"
[target.billing.cluster]
data = "/data"
bin = "/bin"
service = "postgresql@17-main"
[target.billing.check."queue.consumers"]
lag = {warn = "5min", crit = "1h"}
size = {crit = "10MB"}
silenced = ["queue=test"]
[target.shop]
tags = ["eu"]
[[target.shop.pooler]]
name = "a"
dsn = "port=1"
[[target.shop.pooler]]
name = "b"
dsn = "port=2"
"""


def read(tmp_path: Path, text: str | bytes) -> Inventory:
    path = tmp_path / "inventory.toml"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return Inventory.read(path)


def test_every_key_is_read_and_tags_lend_theirs(tmp_path: Path) -> None:
    inventory = read(tmp_path, WHOLE)
    billing, shop = inventory.targets["billing"], inventory.targets["shop"]
    assert inventory.standard() is billing
    assert (billing.guard, billing.run_as, billing.ssh, billing.jobmon_log) == (
        "name",
        "postgres",
        "db1",
        True,
    )
    assert billing.backup == {"tool": "pgbackrest", "stanza": "billing", "config": "/etc/pgbackrest.conf"}
    assert billing.limits("queue.consumers").columns["lag"] == ("5min", "1h")
    assert billing.limits("queue.consumers").silenced == ("queue=test",)
    assert [p.name for p in billing.poolers] == ["pooler"]
    assert (shop.guard, [p.name for p in shop.poolers]) == ("read-only", ["a", "b"])
    assert [t.name for t in inventory.select(["shop"], ["prod"], False)] == ["shop", "billing"]
    assert len(inventory.select([], ["eu"], True)) == 2


@pytest.mark.parametrize(
    ("text", "where", "hint"),
    [
        ("defualt = 'x'", "the top level: unknown key 'defualt'", "default"),
        ("[target.x]\ndns = ''", "[target.x]: unknown key 'dns'", "dsn"),
        ("[tag.x]\ngaurd = ''", "[tag.x]: unknown key 'gaurd'", "guard"),
        ("[target.x.pooler]\ndsn = ''\nnam = ''", "[target.x.pooler]: unknown key 'nam'", "name"),
        ("[target.x.backup]\nstanzas = ''", "[target.x.backup]: unknown key 'stanzas'", "stanza"),
        ("[target.x.cluster]\ndate = ''", "[target.x.cluster]: unknown key 'date'", "data"),
        ("[target.x.check.'a.b']\nlag = {warm = 1}", "a.b lag: unknown key 'warm'", "warn"),
        ("[target.x]\nguard = 'names'", "[target.x]: guard must be one of", "name"),
        ("default = 'shop'\n[target.shops]", "default: names 'shop'", "shops"),
        ("[target.x]\ndsn = 5", "[target.x]: dsn must be a string", None),
        ("[target.x]\ntags = 'prod'", "[target.x] tags: must be a list of strings", None),
        ("[target.x]\njobmon_log = 'yes'", "[target.x]: jobmon_log must be true or false", None),
        ("[target.x.pooler]\nname = ''", "[target.x.pooler]: dsn is missing", None),
        ("[target.x.pooler]\ndsn = 5", "[target.x.pooler]: dsn must be a string", None),
        ("[target.x.check.'a.b']\nlag = {warn = 'soon'}", "is neither a number, a duration nor a size", None),
        ("[target.x.check.'a.b']\nlag = {warn = true}", "is neither a number, a duration nor a size", None),
        ("target = 5", "target: must be a table", None),
        ("x = [", "is not valid TOML", None),
        (b"x = '\xff'", "is not valid TOML", None),
    ],
)
def test_what_is_wrong_is_named_with_file_table_and_the_nearest_key(
    tmp_path: Path, text: str | bytes, where: str, hint: str | None
) -> None:
    with pytest.raises(Usage) as refused:
        read(tmp_path, text)
    assert "inventory.toml" in refused.value.message
    assert where in refused.value.message
    assert hint is None or refused.value.hint == f"did you mean {hint}?"


def test_an_inventory_that_is_not_there_or_empty(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert Inventory.find().targets == {}
    assert read(tmp_path, "").targets == {}
    for path in (tmp_path / "absent", tmp_path):
        with pytest.raises(Usage, match="cannot be read"):
            Inventory.find(path)
    monkeypatch.setenv("PGTUI_INVENTORY", str(tmp_path / "absent"))
    with pytest.raises(Usage, match="cannot be read"):
        Inventory.find()


def test_unknown_targets_and_tags_are_named_with_the_nearest(tmp_path: Path) -> None:
    inventory = read(tmp_path, WHOLE)
    with pytest.raises(Usage) as refused:
        inventory.get("biling")
    assert refused.value.hint == "did you mean billing?"
    with pytest.raises(Usage) as refused:
        inventory.select([], ["prd"], False)
    assert refused.value.hint == "did you mean prod?"
    with pytest.raises(Usage):
        Inventory().select([], [], True)


LABELS = {
    "host=h port=1 dbname=d user=u password=hush": "h:1/d",
    "postgresql://u:hush@h:1/d?sslmode=require": "h:1/d",
    "postgresql://u:hu%40sh@h": "h:5432/u",
    "service=s password=hush": "service=s",
    "host=/run/pg dbname=d": "/run/pg:5432/d",
    "hostaddr=10.0.0.1 dbname=d": "10.0.0.1:5432/d",
    "dbname=d": "local:5432/d",
}


@pytest.mark.parametrize(("dsn", "label"), LABELS.items())
def test_a_target_given_as_dsn_is_called_without_user_or_password(dsn: str, label: str) -> None:
    assert Inventory().get(dsn).name == label


def test_without_an_inventory_the_environment_decides(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PGHOST", "h")
    monkeypatch.setenv("PGDATABASE", "d")
    assert Inventory().standard().name == "h:5432/d"
    monkeypatch.setenv("PGSERVICE", "s")
    assert dsn_label("") == "service=s"
