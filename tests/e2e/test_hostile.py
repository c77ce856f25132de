"""What sessions, roles and databases are called never drives the terminal: proved on the bytes sent."""

from __future__ import annotations

import codecs
import re
import unicodedata
from collections.abc import Iterator
from contextlib import ExitStack

import pytest
from psycopg import sql

from tests.e2e.conftest import Open
from tests.e2e.sessions import running
from tests.e2e.terminal import Terminal
from tests.servers import Server

ESC = "\x1b"
TITLE = f"{ESC}]0;forged\x07"
CLIPBOARD = f"{ESC}]52;c;Zm9yZ2Vk\x07"
REPORT = f"{ESC}[6n"
C1 = "\x9b31m\x9d0;forged\x9c"
NAME = f'ro"le [/x] [red]\n{ESC}[7;7Hforged\u202e \x9b2J'
DATABASE = f"da'ta [bold] {TITLE}\u202e[/]"
QUERY = f"SELECT pg_sleep(600) /* [/x] [red]{TITLE}{CLIPBOARD}{REPORT}{C1}\u202e\u2066 \x07\x08 */"
LONG = "SELECT pg_sleep(600) AS x" + "".join(f", '[{n}]{ESC}[5m'" for n in range(800))

# All that the console itself says to a terminal; a sequence that data forges is none of these.
OWN = re.compile(
    rf"{ESC}\[[0-9;:]*m|{ESC}\[\d+;\d+H|{ESC}\[\?[0-9;]+[hl]|{ESC}\[[0-9]*[ABCDJK]|{ESC}\[\?\d+\$p"
    rf"|{ESC}\[[<>=?]\d*u|{ESC}\[\d* q|{ESC}\[>0?q|{ESC}\[c|{ESC}\[2?[23]?J?t?|{ESC}[78M=>]|{ESC}\(B"
    rf"|{ESC}\]22;[a-z-]+\x07"
)
UNSAFE = ("Cc", "Cf", "Cs", "Zl", "Zp")
WIDE = "名前の役割"
KANJI = "SELECT '漢字', pg_sleep(600)"


def forged(raw: bytearray) -> str:
    """What the stream holds that the console has no reason to send."""
    text = codecs.getincrementaldecoder("utf-8")().decode(bytes(raw))  # the last character may still come
    rest = OWN.sub("", text)
    odd = (i for i, c in enumerate(rest) if c not in "\r\n" and unicodedata.category(c) in UNSAFE)
    return " ".join(repr(rest[max(i - 4, 0) : i + 20]) for i in odd)


@pytest.fixture
def hostile(server: Server) -> Iterator[dict[str, int]]:
    """Sessions with every kind of name and statement, by what is odd about them."""
    server.psql(sql.SQL("CREATE ROLE {} SUPERUSER LOGIN").format(sql.Identifier(NAME)))
    server.psql(sql.SQL("CREATE ROLE {} SUPERUSER LOGIN").format(sql.Identifier(WIDE)))
    server.psql(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(DATABASE)))
    server.psql("CREATE DATABASE bytes ENCODING 'SQL_ASCII' TEMPLATE template0 LC_COLLATE 'C' LC_CTYPE 'C'")
    odd = b"SELECT pg_sleep(600) /* \xff\xfe\x80\x9b31m caf\xe9 */"
    try:
        with ExitStack() as open_:
            yield {
                "name": open_.enter_context(running(server, b"SELECT pg_sleep(600)", user=NAME)),
                "query": open_.enter_context(running(server, QUERY.encode(), DATABASE)),
                "long": open_.enter_context(running(server, LONG.encode(), application_name="[/x]\x1b[5m")),
                "bytes": open_.enter_context(running(server, odd, "bytes", client_encoding="SQL_ASCII")),
                "wide": open_.enter_context(running(server, KANJI.encode(), user=WIDE)),
            }
    finally:
        for name in (DATABASE, "bytes"):
            server.psql(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(sql.Identifier(name)))
        for name in (NAME, WIDE):
            server.psql(sql.SQL("DROP ROLE {}").format(sql.Identifier(name)))


def test_forged_sequences_are_shown_and_never_sent(
    server: Server, pgtui: Open, hostile: dict[str, int]
) -> None:
    terminal = pgtui(server.dsn(DATABASE), columns=160, lines=50)
    for pid in hostile.values():
        terminal.wait_for(str(pid))
    for odd in ("name", "query", "bytes"):
        _look_closely(terminal, hostile[odd])
    terminal.send("d")
    terminal.wait_for("Databases")
    terminal.wait_for("type to narrow down")
    terminal.send(ESC)
    terminal.wait_until_gone("type to narrow down")
    for view in ("locks", "horizon"):
        terminal.send(":")
        terminal.wait_for("Go to, or do")
        terminal.send(f"activity.{view}\r")
        terminal.wait_until_gone("Go to, or do")
    assert "[bold]" in terminal.screen.display[0], terminal.text
    assert "␛]0;" in terminal.text
    assert forged(terminal.raw) == ""
    for payload in (TITLE, CLIPBOARD, REPORT, f"{ESC}[7;7Hforged", f"{ESC}[5m", "\x9b", "\u202e"):
        assert payload.encode() not in terminal.raw


def _look_closely(terminal: Terminal, pid: int) -> None:
    """Filter for that session, read its details, and look at the plan that would end it."""
    terminal.send("/")
    terminal.wait_for("keep the filter")
    terminal.send(f"pid={pid}\r")
    terminal.wait_for(f"filter: pid={pid}")
    terminal.wait_until_gone("keep the filter")
    terminal.send("\r")
    terminal.wait_for(f"activity.sessions  {pid}")
    terminal.wait_for("Locks held")
    terminal.send(ESC)
    terminal.wait_until_gone("Locks held")
    terminal.send("a")
    terminal.wait_for(f"Actions on {pid}")
    terminal.send("activity.terminate\r")
    terminal.wait_for("Run it?")
    terminal.send(ESC)
    terminal.wait_until_gone("Run it?")
    terminal.send(ESC)
    terminal.wait_until_gone("filter: pid")


def test_odd_text_is_shown_literally(server: Server, pgtui: Open, hostile: dict[str, int]) -> None:
    terminal = pgtui(server.dsn(), columns=200, lines=50)
    for pid in hostile.values():
        terminal.wait_for(str(pid))
    assert 'ro"le [/x] [red]␊␛[7;7' in terminal.line_of(str(hostile["name"]))
    assert "[/x] [red]␛]0;forged␇" in terminal.line_of(str(hostile["query"]))
    assert r"\xff\xfe\x80\x9b31m" in terminal.line_of(str(hostile["bytes"]))


def test_wide_characters_keep_the_columns_aligned(
    server: Server, pgtui: Open, hostile: dict[str, int]
) -> None:
    terminal = pgtui(server.dsn(), columns=160, lines=40)
    for pid in hostile.values():
        terminal.wait_for(str(pid))

    def aligned() -> bool:
        heading = next(y for y, line in enumerate(terminal.screen.display) if " Pid " in line)
        state = _cells(terminal, heading).index("State")
        rows = [
            y
            for y, line in enumerate(terminal.screen.display)
            if "pg_sleep(600" in line and " active " in line
        ]
        return len(rows) >= 5 and all(_cells(terminal, y)[state:].startswith("active") for y in rows)

    terminal.until(aligned)


def _cells(terminal: Terminal, y: int) -> str:
    """A line by its cells: a wide character takes two, the second of them a blank here."""
    line = terminal.screen.buffer[y]
    return "".join(line[x].data or " " for x in range(terminal.screen.columns))
