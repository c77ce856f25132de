# `make help` lists what there is.
.DEFAULT_GOAL := help
.PHONY: help setup demo test check bench lock clean

bin := .venv/bin
compile := UV_CUSTOM_COMPILE_COMMAND="make lock" $(bin)/uv pip compile --quiet --universal \
	--python-version 3.11 --generate-hashes --no-emit-index-url --no-annotate

help: ## this list
	@sed -n 's/^\([a-z]*\):.*## \(.*\)/make \1\t\2/p' Makefile | expand -t 14

setup: # what the others need; done once
	@scripts/setup

demo: setup ## start a private server with a workload and open the console on it
	@$(bin)/pgtui demo

test: setup ## run the whole suite on the PostgreSQL servers found
	@$(bin)/python -m pytest -n 3 --dist loadgroup $(PYTEST)

check: setup ## formatting, lint, types and import contracts
	@$(bin)/ruff format --check .
	@$(bin)/ruff check .
	@$(bin)/mypy
	@$(bin)/pyright
	@$(bin)/lint-imports

bench: setup ## measure against pg_activity and psql; writes docs/performance.md
	@$(bin)/python scripts/bench.py

lock: setup ## pin the dependencies of pyproject.toml
	@$(bin)/python -m pip install --quiet "$$($(bin)/python -c \
		'import tomllib; print(tomllib.load(open("pyproject.toml", "rb"))["dependency-groups"]["lock"][0])')"
	@$(compile) --output-file requirements.lock pyproject.toml
	@$(compile) --output-file requirements-dev.lock --group dev --extra embedded pyproject.toml

clean: ## remove the virtual environment and caches
	@rm -rf .venv .mypy_cache .pytest_cache .ruff_cache .hypothesis .import_linter_cache .coverage
	@find . -name __pycache__ -prune -exec rm -rf {} +
