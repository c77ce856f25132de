"""The console while the server freezes, restarts or is promoted."""

from __future__ import annotations

import re

from tests.e2e.conftest import Open
from tests.e2e.sessions import sleeper
from tests.servers import OwnClusters

ESC = "\x1b"


def test_a_frozen_server_leaves_the_keys_alive_and_the_rows_marked(
    own_cluster: OwnClusters, pgtui: Open
) -> None:
    server = own_cluster()
    with sleeper(server) as pid:
        terminal = pgtui(server.dsn())
        terminal.wait_for(str(pid))
        server.freeze()
        try:
            terminal.send("?")
            terminal.wait_for("open the first ten rooms")
            terminal.send(ESC)
            terminal.wait_until_gone("open the first ten rooms")
            terminal.wait_for("no answer for")
            assert str(pid) in terminal.text
            terminal.send("/")
            terminal.wait_for("keep the filter")
            terminal.send("nothing has this" + "\r")
            terminal.wait_for("filter: nothing has this")
            terminal.send(ESC)
            terminal.wait_for(str(pid))
            terminal.send("\r")
            terminal.wait_for(f"activity.sessions  {pid}")
            terminal.send(ESC)
            terminal.wait_until_gone(f"activity.sessions  {pid}")
        finally:
            server.thaw()
        terminal.wait_until_gone("no answer for")
        assert str(pid) in terminal.text
        terminal.send("q")
        assert terminal.ended() == 0


def test_a_form_opens_without_the_choices_that_a_frozen_server_does_not_give(
    own_cluster: OwnClusters, pgtui: Open
) -> None:
    server = own_cluster()
    with sleeper(server) as pid:
        terminal = pgtui(server.dsn())
        terminal.wait_for(str(pid))
        server.freeze()
        try:
            terminal.wait_for("no answer for")
            terminal.send("a")
            terminal.wait_for("Actions on")
            terminal.send("terminate_idle\r")
            terminal.wait_for("the server has not answered yet")
            terminal.wait_for("Idle in transaction for longer than")
            terminal.send("15min\r")
            terminal.wait_for("planning: the server")
        finally:
            server.thaw()


def test_quitting_does_not_wait_for_a_frozen_server(own_cluster: OwnClusters, pgtui: Open) -> None:
    server = own_cluster()
    terminal = pgtui(server.dsn())
    terminal.wait_for("primary")
    server.freeze()
    try:
        terminal.wait_for(re.compile("no answer for|data .* old"))
        terminal.send("q")
        assert terminal.ended() == 0
    finally:
        server.thaw()


def test_it_comes_back_by_itself_after_a_restart(own_cluster: OwnClusters, pgtui: Open) -> None:
    server = own_cluster()
    with sleeper(server, "before") as pid:
        terminal = pgtui(server.dsn())
        terminal.wait_for(str(pid))
        server.stop()
        terminal.wait_for("showing")
        assert str(pid) in terminal.text
        server.start()
        with sleeper(server, "after") as later:
            terminal.wait_for(str(later))
            terminal.wait_until_gone("showing")


def test_a_promotion_is_shown(own_cluster: OwnClusters, pgtui: Open) -> None:
    standby = own_cluster.standby(own_cluster())
    terminal = pgtui(standby.dsn())
    terminal.until(lambda: "standby" in terminal.screen.display[0])
    standby.promote()
    terminal.until(lambda: "primary" in terminal.screen.display[0])
