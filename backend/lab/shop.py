"""The sample that the lab works on: a small shop, and which of its jobs are watched."""

from __future__ import annotations

from typing import LiteralString

DATABASE = "shop"
ROLES = ("web", "billing", "reports")

CUSTOMERS = 2_000
ARTICLES = 500

SHOP: tuple[LiteralString, ...] = (
    """\
CREATE TABLE public.customers (
    id      integer PRIMARY KEY,
    name    text    NOT NULL,
    region  text    NOT NULL,
    balance numeric NOT NULL DEFAULT 0
)""",
    """\
CREATE TABLE public.stock (
    article  integer PRIMARY KEY,
    quantity integer NOT NULL
)""",
    """\
CREATE TABLE public.orders (
    id         bigint      GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    customer   integer     NOT NULL REFERENCES public.customers (id),
    article    integer     NOT NULL,
    total      numeric     NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now()
)""",
    "CREATE INDEX orders_created_at ON public.orders (created_at)",
    """\
CREATE TABLE public.events (
    id      integer     PRIMARY KEY,
    seen_at timestamptz NOT NULL,
    payload text        NOT NULL
)""",
    """\
INSERT INTO public.customers (id, name, region)
SELECT n, 'customer ' || n, (ARRAY['north', 'east', 'south', 'west'])[1 + n % 4]
  FROM generate_series(1, 2000) AS n""",
    """\
INSERT INTO public.stock (article, quantity)
SELECT n, 1000
  FROM generate_series(1, 500) AS n""",
    """\
INSERT INTO public.events (id, seen_at, payload)
SELECT n, now(), repeat(md5(n::text), 4)
  FROM generate_series(1, 60000) AS n""",
    # An index over it takes as long as one of a large table, and costs next to nothing.
    """\
CREATE FUNCTION public.unhurried(id integer) RETURNS integer
LANGUAGE sql IMMUTABLE
RETURN id + CASE WHEN id % 20 = 0 AND pg_sleep(0.004) IS NULL THEN 1 ELSE 0 END""",
    "GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA public TO web, billing",
    "GRANT SELECT ON ALL TABLES IN SCHEMA public TO reports",
)

THRESHOLDS: tuple[LiteralString, ...] = (
    """\
INSERT INTO jobmon.job_check_config (job_name, warn_threshold, error_threshold, active, sensitivity)
VALUES ('SETTLE INVOICES', '5 minutes', '15 minutes', true, 0),
       ('LOAD EXCHANGE RATES', '10 minutes', '30 minutes', true, 1),
       ('SYNC WAREHOUSE', '10 minutes', '30 minutes', true, 2),
       ('ARCHIVE ORDERS', '30 seconds', '5 minutes', true, 0),
       ('MAIL REMINDERS', '1 minute', '10 minutes', true, 0)
    ON CONFLICT (job_name) DO NOTHING""",
)
