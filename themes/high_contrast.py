"""The high-contrast theme: every colour at least seven to one against black."""

from __future__ import annotations

from textual.theme import Theme

THEME = Theme(
    name="pgtui-high-contrast",
    primary="#5cd6ff",
    secondary="#d0d0d0",
    accent="#ffff00",
    foreground="#ffffff",
    background="#000000",
    surface="#000000",
    panel="#000000",
    success="#00ff66",
    warning="#ffd500",
    error="#ff9090",
    dark=True,
    variables={
        "health-ok": "#00ff66",
        "health-unknown": "#e0b0ff",
        "health-warning": "#ffd500",
        "health-critical": "#ff9090",
        "muted": "#d0d0d0",
        "strong": "#ffffff",
        "bar": "#000000",
        "cursor": "#ffff00",
        "cursor-text": "#000000",
        "cursor-blurred": "#404040",
        "line": "#ffffff",
        "block-cursor-background": "#ffff00",
        "block-cursor-foreground": "#000000",
        "block-cursor-text-style": "bold",
        "input-selection-background": "#5cd6ff 50%",
        "border": "#ffff00",
        "border-blurred": "#ffffff",
    },
)
