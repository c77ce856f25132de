"""The functions that views and planners may call: each was looked at and only reads.

A read-only connection does not keep a function from switching WAL, moving a slot, taking an advisory lock
or connecting elsewhere, so whatever is not listed here is refused until somebody has looked at it.
"""

from __future__ import annotations

_OF_THE_CATALOG = """
    abs age array_agg array_cat array_to_string bool_and bool_or clock_timestamp concat_ws count
    current_database current_setting date_bin date_trunc first_value floor format_type generate_series
    has_database_privilege has_function_privilege has_parameter_privilege has_schema_privilege
    has_sequence_privilege has_table_privilege has_tablespace_privilege hashtext host inet_client_addr
    jsonb_each_text left length lower max min mod mxid_age now obj_description octet_length
    pg_backend_pid pg_blocking_pids pg_control_checkpoint pg_control_init pg_control_recovery
    pg_control_system pg_current_logfile pg_database_size pg_describe_object pg_extension_update_paths
    pg_get_expr pg_get_indexdef pg_get_partition_constraintdef pg_get_partkeydef pg_get_userbyid
    pg_has_role pg_is_in_recovery pg_ls_logdir pg_ls_tmpdir pg_ls_waldir pg_options_to_table
    pg_postmaster_start_time pg_read_binary_file pg_relation_size pg_sequence_last_value pg_stat_file
    pg_stat_get_db_stat_reset_time pg_stat_get_dead_tuples pg_stat_get_ins_since_vacuum
    pg_stat_get_last_analyze_time pg_stat_get_last_autoanalyze_time pg_stat_get_last_autovacuum_time
    pg_stat_get_last_vacuum_time pg_stat_get_lastscan pg_stat_get_live_tuples
    pg_stat_get_mod_since_analyze pg_stat_get_numscans pg_stat_get_tuples_inserted pg_table_size
    pg_tablespace_location pg_tablespace_size pg_total_relation_size quote_ident regexp_replace right
    set_config starts_with string_agg string_to_array substr sum to_char to_jsonb to_regclass
    to_regnamespace trunc txid_current_snapshot txid_snapshot_xmax txid_snapshot_xmin unnest upper
"""
# The catalog calls these volatile, as it does every function that writes: they tell of files, processes and
# other sessions, which change in the middle of a statement. Each was looked at a second time.
_VOLATILE = """
    clock_timestamp pg_blocking_pids pg_control_checkpoint pg_control_init pg_control_recovery
    pg_control_system pg_current_logfile pg_database_size pg_is_in_recovery pg_ls_logdir pg_ls_tmpdir
    pg_ls_waldir pg_read_binary_file pg_relation_size pg_sequence_last_value pg_stat_file pg_table_size
    pg_tablespace_size pg_total_relation_size set_config
"""
VOLATILE = frozenset(_VOLATILE.split())
# It selects the events of a batch that is open.
_OF_PGQ = {"pgq.get_batch_events"}
FUNCTIONS = frozenset({f"pg_catalog.{name}" for name in _OF_THE_CATALOG.split()} | _OF_PGQ)
