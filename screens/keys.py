"""What keys do, in the words of the line of keys and of the help."""

from __future__ import annotations

# The first of them are what fits into 80 columns.
FOOTER = (
    ("?", "help"),
    ("a", "actions"),
    ("Enter", "details"),
    ("/", "filter"),
    ("s", "sort"),
    ("Tab", "next view"),
    (":", "go to"),
    ("q", "quit"),
    ("g", "rooms"),
    ("space", "pause"),
    ("S", "SQL"),
    ("!", "psql"),
    ("R", "runs"),
    ("t", "target"),
    ("d", "database"),
)
# A click on a key in that line presses it.
CLICKS = {"Enter": "enter", "Tab": "tab", "Esc": "escape"}

HELP = (
    ("1-9 0", "open the first ten rooms"),
    ("g", "list all rooms"),
    (": ctrl+p", "palette: rooms, views, targets, actions"),
    ("Tab ]  [", "next view, previous view"),
    ("/", "filter: text  !text  column>value  column~regex"),
    ("s  o", "sort by a column, in the other direction"),
    ("Enter", "the row in full"),
    ("a", "actions on the row, or on the marked rows"),
    ("m", "mark the row; actions then take all marked rows"),
    ("v", "options of the view: what it shows, of whom, compared with what"),
    ("w F6", "the room's other table"),
    ("space", "pause"),
    ("r", "refresh now, also while paused"),
    ("+ -", "longer or shorter interval"),
    ("y  e", "copy the row, export the table as CSV"),
    ("S", "the SQL behind the view"),
    ("R", "runs, and what an earlier pgtui left unfinished"),
    ("t  d  T", "another target, another database, another theme"),
    ("!", "psql on this target"),
    ("Esc", "back: closes a dialog, takes away marks, then the filter"),
    ("q ctrl+c", "quit"),
)
