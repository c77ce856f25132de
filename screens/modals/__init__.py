"""Dialogs: each is pushed with what it shows and dismisses with what was decided."""
