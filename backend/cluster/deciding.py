"""Which rule of pg_hba.conf decides about a client, as the server goes through them: the first that fits."""

from __future__ import annotations

import asyncio
import ipaddress
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from backend.core.errors import PgtuiError
from backend.core.host import script
from backend.core.session import Session

if TYPE_CHECKING:
    from backend.cluster.rule import Rule

Address = ipaddress.IPv4Address | ipaddress.IPv6Address

# The server wants its own names for these, whatever libpq calls them.
_ENCRYPTED = {"hostssl": True, "hostnossl": False}


@dataclass(frozen=True, slots=True)
class Client:
    """Who would connect; no address means the server's socket. `roles` are all that the user belongs to."""

    user: str
    roles: frozenset[str]
    database: str
    address: Address | None
    ssl: bool
    replication: bool
    major: int


@dataclass(frozen=True, slots=True)
class Network:
    """What the server's host knows of the network: its own addresses, and the client's name."""

    own: tuple[ipaddress.IPv4Interface | ipaddress.IPv6Interface, ...] = ()
    name: str | None = None
    asked: bool = False


_ADDRESSES = 'ip -o addr show 2>/dev/null; echo --; getent hosts "$1" 2>/dev/null; :'


async def known(s: Session, rules: Sequence[Rule], address: Address | None) -> Network:
    """What has to be known of the network, asked only where a rule depends on it."""
    wanted = any(_depends(rule) for rule in rules)
    if address is None or not wanted:
        return Network()
    try:
        async with asyncio.timeout(s.timeout / 2):
            done = await s.host.run(script(_ADDRESSES, str(address)))
    except (PgtuiError, TimeoutError):
        return Network()
    return network(done.text)


def network(text: str) -> Network:
    """The host's addresses as `ip -o addr` lists them, and the client's name as `getent hosts` does."""
    listed, _, names = text.partition("--\n")
    own = [ipaddress.ip_interface(found) for found in re.findall(r"\binet6? ([0-9a-fA-F:.]+/\d+)", listed)]
    words = names.split()
    return Network(tuple(own), words[1] if len(words) > 1 else None, asked=bool(own))


def _depends(rule: Rule) -> bool:
    return rule.address is not None and rule.address != "all" and _literal(rule.address) is None


def fits(rule: Rule, client: Client, network: Network) -> bool | None:
    """Whether the rule is for such a client; None where that cannot be known here."""
    if rule.error or rule.type is None:
        return False
    parts = (
        _type_fits(rule.type, client),
        _database_fits(rule.database or [], client),
        _user_fits(rule.user or [], client),
        _address_fits(rule, client, network),
    )
    if False in parts:
        return False
    return None if None in parts else True


def _type_fits(kind: str, client: Client) -> bool | None:
    if kind == "local" or client.address is None:
        return kind == "local" and client.address is None
    if kind in _ENCRYPTED:
        return client.ssl is _ENCRYPTED[kind]
    # GSSAPI encryption is used where client and server both have tickets, which nobody can tell from here.
    return {"hostgssenc": False, "hostnogssenc": True}.get(kind, True)


def _database_fits(words: Sequence[str], client: Client) -> bool:
    return any(_database_word(word, client) for word in words)


def _database_word(word: str, client: Client) -> bool:
    if client.replication:
        return word == "replication"
    match word:
        case "all":
            return True
        case "sameuser":
            return client.database == client.user
        case "samerole" | "samegroup":
            return client.database in client.roles
        case "replication":
            return False
    return _pattern(word, client.database, client.major)


def _user_fits(words: Sequence[str], client: Client) -> bool:
    return any(
        word == "all"
        or (word.startswith("+") and word[1:] in client.roles)
        or _pattern(word, client.user, client.major)
        for word in words
    )


def _pattern(word: str, name: str, major: int) -> bool:
    """A name, or from 16 on a regular expression that need not cover the whole name."""
    if major < 16 or not word.startswith("/"):
        return word == name
    try:
        return bool(re.search(word[1:], name))
    except re.error:
        return False


def _address_fits(rule: Rule, client: Client, network: Network) -> bool | None:
    if rule.type == "local" or client.address is None:
        return True
    if rule.address is None or rule.address == "all":
        return True
    if rule.address in ("samehost", "samenet"):
        return _near(rule.address, client.address, network)
    if (literal := _literal(rule.address)) is not None:
        return _inside(client.address, literal, rule.netmask)
    return _named(rule.address, network)


def _literal(text: str) -> Address | None:
    try:
        return ipaddress.ip_address(text.partition("%")[0])
    except ValueError:
        return None


def _inside(address: Address, base: Address, netmask: str | None) -> bool:
    if address.version != base.version:
        return False
    mask = int(ipaddress.ip_address(netmask)) if netmask else int(type(base)(-1 % (1 << base.max_prefixlen)))
    return int(address) & mask == int(base) & mask


def _near(word: str, address: Address, network: Network) -> bool | None:
    if not network.asked:
        return True if address.is_loopback else None
    if word == "samehost":
        return any(address == own.ip for own in network.own)
    return any(address in own.network for own in network.own if own.version == address.version)


def _named(wanted: str, network: Network) -> bool | None:
    """By the client's name; the server looks it up backwards and forwards, for us once has to do."""
    if not network.asked:
        return None
    name = (network.name or "").lower()
    return name.endswith(wanted.lower()) if wanted.startswith(".") else name == wanted.lower()
