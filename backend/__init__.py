"""Everything pgtui knows of PostgreSQL and its tools, without a user interface."""
