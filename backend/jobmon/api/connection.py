"""The connection that jobs are logged over: from the server to itself."""

from psycopg import sql

# pg_settings hides from ordinary roles what current_setting() would refuse with an error. libpq wants
# an absolute folder. A server on no socket is reached where it listens, or where this session reached it.
OWN_CONNECTION = sql.SQL("""\
SELECT s.host,
       CASE WHEN s.host IS NULL THEN coalesce(host(inet_server_addr()), l.hostaddr) END AS hostaddr,
       current_setting('port') AS port
  FROM (SELECT CASE
               WHEN first.folder ~ '^[/@]' THEN first.folder
               WHEN first.folder <> ''
               THEN (SELECT setting FROM pg_settings WHERE name = 'data_directory') || '/' || first.folder
               END AS host
          FROM (SELECT (SELECT btrim(replace(coalesce(m.match[1], m.match[2]), '""', '"'))
                          FROM pg_settings AS g
                         CROSS JOIN LATERAL
                               regexp_match(g.setting, '^\\s*(?:"((?:[^"]|"")*)"|([^,]*))') AS m (match)
                         WHERE g.name = 'unix_socket_directories') AS folder) AS first) AS s
 CROSS JOIN LATERAL
       (SELECT CASE
               WHEN a.address = '::' OR a.address = '::1' THEN '::1'
               WHEN a.address ~ '^[0-9.]+$' AND a.address <> '0.0.0.0' THEN a.address
               WHEN a.address ~ ':' THEN a.address
               ELSE '127.0.0.1'
               END AS hostaddr
          FROM btrim(split_part(current_setting('listen_addresses'), ',', 1), ' "') AS a (address)) AS l""")


def connection_statement(
    schema: str,
    *,
    host: str | None = None,
    hostaddr: str | None = None,
    port: int | None = None,
    username: str | None = None,
    password: sql.Composable | None = None,
) -> sql.Composed:
    """Sets the one connection row; without host and hostaddr to the server's own socket or address.

    A password is given as a literal or a placeholder; the one stored before never outlives a change.
    """
    derived = host is None and hostaddr is None
    return sql.SQL("""\
WITH own AS (
{own}
), wanted AS (
    SELECT {username}::text AS username, {port}::text AS port, {password}::text AS pwd,
           {host}::text AS host, {hostaddr}::text AS hostaddr
      FROM own
), changed AS (
    UPDATE {table} AS m
       SET username = w.username, port = w.port, pwd = w.pwd, host = w.host, hostaddr = w.hostaddr
      FROM wanted AS w
    RETURNING m.port
)
INSERT INTO {table} (username, port, pwd, host, hostaddr)
SELECT w.username, w.port, w.pwd, w.host, w.hostaddr
  FROM wanted AS w
 WHERE NOT EXISTS (SELECT FROM changed)""").format(
        own=OWN_CONNECTION,
        table=sql.Identifier(schema, "dblink_mapping_jobmon"),
        username=sql.Literal(username),
        port=sql.SQL("own.port") if port is None else sql.Literal(str(port)),
        password=sql.SQL("NULL") if password is None else password,
        host=sql.SQL("own.host") if derived else sql.Literal(host),
        hostaddr=sql.SQL("own.hostaddr") if derived else sql.Literal(hostaddr),
    )
