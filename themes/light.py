"""The light theme: dark ink on paper white."""

from __future__ import annotations

from textual.theme import Theme

THEME = Theme(
    name="pgtui-light",
    primary="#1f5fa8",
    secondary="#5c6672",
    accent="#1f5fa8",
    foreground="#22272e",
    background="#fbfbf9",
    surface="#f3f3f0",
    panel="#e8e9e6",
    success="#2c7a3d",
    warning="#8f5b00",
    error="#b3261e",
    dark=False,
    variables={
        "health-ok": "#2c7a3d",
        "health-unknown": "#6a3fa0",
        "health-warning": "#8f5b00",
        "health-critical": "#b3261e",
        "muted": "#66707c",
        "strong": "#000000",
        "bar": "#e8e9e6",
        "cursor": "#c9def5",
        "cursor-text": "#0b1f38",
        "cursor-blurred": "#e3e7ec",
        "line": "#c3c7cc",
        "block-cursor-background": "#c9def5",
        "block-cursor-foreground": "#0b1f38",
        "block-cursor-text-style": "bold",
        "input-selection-background": "#1f5fa8 25%",
        "border": "#1f5fa8",
        "border-blurred": "#c3c7cc",
    },
)
