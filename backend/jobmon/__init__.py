"""Everything pgtui knows of logged jobs: pg_jobmon and pgtui's own implementation of its API."""
