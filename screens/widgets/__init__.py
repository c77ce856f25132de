"""Widgets that know nothing of PostgreSQL and fetch nothing: they show what they are given."""
