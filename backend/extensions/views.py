"""Views of the room `extensions`."""

from __future__ import annotations

from typing import Annotated

from backend.core.declare import Ask, view
from backend.core.session import Session
from backend.extensions import installed as inside
from backend.extensions import versions as files
from backend.extensions.names import demand_name


@view("extensions.installed", every=60, verdict=inside.verdict, across=inside.differing,
      empty="no extension is installed")  # fmt: skip
async def installed(s: Session) -> list[inside.Extension]:
    """What is installed here: versions, what it needs, who uses it, and whether it is loaded."""
    return [found.told() for found in await s.fetch(inside.Found, inside.INSTALLED)]


@view("extensions.available", every=60, empty="the server has no files of extensions")
async def available(s: Session) -> list[files.Available]:
    """What the server's files could install, and what of it is."""
    return await s.fetch(files.Available, files.AVAILABLE)


@view("extensions.versions", every=60, empty="the server has no files of that extension")
async def versions(
    s: Session, name: Annotated[str, Ask("Extension", choices="extensions.available.name")]
) -> list[files.Version]:
    """The versions of one extension, and the way to each from the installed one."""
    return await s.fetch(files.Version, files.VERSIONS, demand_name(name))
