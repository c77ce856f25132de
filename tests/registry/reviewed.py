"""The functions that views and planners may call: each was looked at and only reads.

A read-only connection does not keep a function from switching WAL, moving a slot, taking an advisory lock
or connecting elsewhere, so whatever is not listed here is refused until somebody has looked at it.
"""

from __future__ import annotations

_OF_THE_CATALOG = """
    age array_agg array_cat clock_timestamp concat_ws count current_database current_setting
    has_database_privilege host left lower max min mxid_age now obj_description
    pg_backend_pid pg_blocking_pids pg_control_system pg_describe_object pg_has_role pg_is_in_recovery
    pg_postmaster_start_time pg_stat_get_dead_tuples quote_ident set_config string_agg sum
    to_regnamespace unnest upper
"""
FUNCTIONS = frozenset(f"pg_catalog.{name}" for name in _OF_THE_CATALOG.split())
