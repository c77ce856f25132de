"""The user's own editor on a private copy of a text."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from backend.core.editing import edit
from backend.core.errors import Missing, Refused


@pytest.fixture
def editor(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A script that stands for the user's editor; its text is what it does with the file `$1`."""
    script = tmp_path / "an editor"
    monkeypatch.setenv("EDITOR", f"'{script}' --wait")
    return script


def does(editor: Path, what: str) -> None:
    editor.write_text(f"#!/bin/sh\nshift\n{what}\n")
    editor.chmod(0o755)


def test_gives_the_text_as_the_user_leaves_it(editor: Path, tmp_path: Path) -> None:
    does(editor, f'ls -ld "${{1%/*}}" "$1" >{tmp_path}/seen; printf "two\\n" >>"$1"')
    assert edit("one \udcff\n", "pg_hba.conf") == "one \udcff\ntwo\n"
    folder, file = (tmp_path / "seen").read_text().splitlines()
    assert file.startswith("-rw-------")
    assert folder.startswith("drwx------")
    assert not Path(file.split()[-1]).exists()


def test_visual_goes_before_editor(editor: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    does(editor, 'echo editor >"$1"')
    monkeypatch.setenv("VISUAL", "true")
    assert edit("as it was", "text") == "as it was"


@pytest.mark.parametrize(
    ("what", "sentence"),
    [
        ('echo half >"$1"; exit 3', "the editor ended with status 3; nothing was changed"),
        ('echo half >"$1"; kill -KILL $$', "the editor was killed by signal 9; nothing was changed"),
    ],
)
def test_an_editor_that_is_killed_or_fails_changes_nothing(editor: Path, what: str, sentence: str) -> None:
    does(editor, what)
    with pytest.raises(Refused, match=sentence):
        edit("as it was", "text")


def test_an_editor_that_is_not_there_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EDITOR", "no-such-editor")
    with pytest.raises(Missing, match="the editor no-such-editor is not on this machine"):
        edit("", "text")


def test_uses_the_terminal_that_it_is_given(editor: Path) -> None:
    master, slave = os.openpty()
    try:
        assert stat.S_ISCHR(os.fstat(slave).st_mode)
        does(editor, 'test -t 0 && test -t 1 && echo yes >"$1"')
        assert edit("", "text", Path(os.ttyname(slave))) == "yes\n"
    finally:
        os.close(master)
        os.close(slave)
