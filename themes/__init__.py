"""Colours and style sheets of the console."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from textual.theme import Theme

from themes import dark, high_contrast, light, sixteen

THEMES: dict[str, Theme] = {t.name: t for t in (dark.THEME, light.THEME, high_contrast.THEME, sixteen.THEME)}
DEFAULT = dark.THEME.name
STYLE_SHEETS = (Path(__file__).parent / "pgtui.tcss",)
# What an app's `get_theme_variable_defaults` answers, so that any other theme works too.
VARIABLES: dict[str, str] = dict(dark.THEME.variables)


def fitting(environ: Mapping[str, str]) -> str:
    """The name of the theme for a terminal: its own 16 colours where it has no more, or none are wanted."""
    if environ.get("PGTUI_THEME", "") in THEMES:
        return environ["PGTUI_THEME"]
    many = "256color" in environ.get("TERM", "") or environ.get("COLORTERM", "") in ("truecolor", "24bit")
    return DEFAULT if many and "NO_COLOR" not in environ else sixteen.THEME.name


def ansi_color(environ: Mapping[str, str]) -> bool | None:
    """What an app's `ansi_color` has to be from the start: where no colours are wanted, the terminal's own.

    Textual chooses its way of taking colours away before it knows the theme; the other way turns a theme of
    the terminal's colours into black on black.
    """
    return True if "NO_COLOR" in environ else None
