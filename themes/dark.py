"""The dark theme: grey on near black; only what is wrong has a colour."""

from __future__ import annotations

from textual.theme import Theme

THEME = Theme(
    name="pgtui-dark",
    primary="#6ca0dc",
    secondary="#7d8796",
    accent="#6ca0dc",
    foreground="#d0d4da",
    background="#101317",
    surface="#171b21",
    panel="#1f252d",
    success="#7fb77e",
    warning="#e5b567",
    error="#f0716b",
    dark=True,
    variables={
        "health-ok": "#7fb77e",
        "health-unknown": "#b294d6",
        "health-warning": "#e5b567",
        "health-critical": "#ff7a72",
        "muted": "#7d8796",
        "strong": "#f2f4f7",
        "bar": "#1f252d",
        "cursor": "#2c4a6e",
        "cursor-text": "#ffffff",
        "cursor-blurred": "#262d37",
        "line": "#39424e",
        "block-cursor-background": "#2c4a6e",
        "block-cursor-foreground": "#ffffff",
        "block-cursor-text-style": "bold",
        "input-selection-background": "#6ca0dc 35%",
        "border": "#6ca0dc",
        "border-blurred": "#39424e",
    },
)
