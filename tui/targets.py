"""`pgtui targets`: the inventory listed, extended and tried."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

from backend.core.clean import mask
from backend.core.errors import Failed, Usage
from backend.core.folders import config_folder, private
from backend.core.target import Inventory, Target, is_dsn
from tui.catalogue import print_objects
from tui.options import FORMATS, Options
from tui.out import say


def list_targets(options: Options) -> int:
    """Print the targets of the inventory."""
    form = options.format(*FORMATS)
    inventory = options.read_inventory()
    chosen = list(inventory.targets.values())
    if options.targets or options.tags:
        chosen = inventory.select(options.targets, options.tags, False)
    print_objects([_object(t, inventory, form) for t in chosen], form)
    if not inventory.targets:
        say("the inventory lists no target; pgtui targets add NAME DSN adds one")
    return 0


def _object(target: Target, inventory: Inventory, form: str) -> dict[str, Any]:
    return {
        "target": target.name,
        "dsn": mask(target.dsn),
        "ssh": target.ssh,
        "tags": list(target.tags) if form == "json" else " ".join(target.tags),
        "guard": target.guard or None,
        "default": target.name == inventory.default,
    }


def add_target(
    options: Options, name: str, dsn: str, *, ssh: str | None, guard: str | None, default: bool
) -> int:
    """Append a target to the inventory file, which stays as it is otherwise."""
    inventory = options.read_inventory() if _path(options).exists() else Inventory()
    _check_new(inventory, name, dsn)
    path = inventory.path or _path(options)
    before = path.read_text("utf-8") if path.exists() else ""
    lines = [f"\n[target.{_key(name)}]", f"dsn = {_text(dsn)}"]
    lines += [f"ssh = {_text(ssh)}"] if ssh else []
    lines += [f"tags = [{', '.join(map(_text, options.tags))}]"] if options.tags else []
    lines += [f"guard = {_text(guard)}"] if guard else []
    head = "" if not default else f"default = {_text(name)}\n"
    if default and inventory.default:
        raise Usage(f"the inventory's default is {inventory.default} already", hint=f"change it in {path}")
    _replace(path, head + before.rstrip("\n") + ("\n" if before else "") + "\n".join(lines) + "\n")
    say(f"{path} lists {name} now; pgtui targets test -t {name} tries it")
    return 0


def _check_new(inventory: Inventory, name: str, dsn: str) -> None:
    if name in inventory.targets:
        raise Usage(f"the inventory lists a target {name} already")
    if not name or is_dsn(name):
        raise Usage(f"{name!r} is not a name for a target")
    if mask(dsn) != dsn:
        raise Usage(
            "this DSN holds a password", hint="keep it in ~/.pgpass or a service file, and leave it out here"
        )
    if dsn:
        from backend.core.target import dsn_label

        dsn_label(dsn)


def _path(options: Options) -> Path:
    named = os.environ.get("PGTUI_INVENTORY")
    return options.inventory or (Path(named) if named else config_folder() / "inventory.toml")


def _key(name: str) -> str:
    return name if name.replace("-", "").replace("_", "").isalnum() and name.isascii() else _text(name)


def _text(value: str) -> str:
    # A JSON string is a TOML basic string, but for DEL, which TOML wants escaped, and the slash.
    return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")


def _replace(path: Path, text: str) -> None:
    """Write the inventory whole, if it can be read back."""
    part = path.with_name(path.name + ".part")
    try:
        private(path.parent) if path.parent == config_folder() else None
        part.write_text(text, "utf-8")
        Inventory.read(part)
        part.replace(path)
    except OSError as e:
        raise Failed(f"{path} cannot be written: {e.strerror}") from None
    except Usage as e:
        raise Usage(e.message.replace(str(part), str(path)), hint=e.hint) from None
    finally:
        part.unlink(missing_ok=True)
