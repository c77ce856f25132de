"""The theme of terminals with sixteen colours, in whatever way the user has set them."""

from __future__ import annotations

from textual.theme import Theme

THEME = Theme(
    name="pgtui-sixteen",
    ansi=True,
    primary="ansi_blue",
    secondary="ansi_cyan",
    accent="ansi_blue",
    foreground="ansi_default",
    background="ansi_default",
    surface="ansi_default",
    panel="ansi_default",
    boost="ansi_default",
    success="ansi_green",
    warning="ansi_yellow",
    error="ansi_red",
    variables={
        "health-ok": "ansi_green",
        "health-unknown": "ansi_magenta",
        "health-warning": "ansi_yellow",
        "health-critical": "ansi_red",
        "muted": "ansi_default",
        "strong": "ansi_default",
        "bar": "ansi_default",
        "cursor": "ansi_blue",
        "cursor-text": "ansi_bright_white",
        "cursor-blurred": "ansi_default",
        "line": "ansi_default",
        "ansi-background": "ansi_black",
        "ansi-foreground": "ansi_white",
        "block-cursor-background": "ansi_blue",
        "block-cursor-foreground": "ansi_bright_white",
        "block-cursor-text-style": "bold",
        "input-cursor-background": "ansi_white",
        "input-cursor-foreground": "ansi_black",
        "input-selection-background": "ansi_blue",
        "input-selection-foreground": "ansi_bright_white",
        "screen-selection-background": "ansi_blue",
        "screen-selection-foreground": "ansi_bright_white",
        "border": "ansi_blue",
        "border-blurred": "ansi_default",
    },
)
