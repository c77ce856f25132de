"""How a function of the API is written down, created and dropped."""

from dataclasses import dataclass
from typing import Literal, LiteralString

from psycopg import sql

BODY_QUOTE: LiteralString = "$body$"


@dataclass(frozen=True, slots=True)
class Names:
    """The schemas that the statements are made for."""

    schema: str
    dblink: str

    def fill(self, text: LiteralString) -> sql.Composed:
        """Puts the schemas into {schema} and {dblink}, the first as a string into {schema_name}."""
        return sql.SQL(text).format(
            schema=sql.Identifier(self.schema),
            dblink=sql.Identifier(self.dblink),
            schema_name=sql.Literal(self.schema),
        )


@dataclass(frozen=True, slots=True)
class Routine:
    """One function: `types` identifies it among overloads, `arguments` is what CREATE FUNCTION takes."""

    name: LiteralString
    types: LiteralString
    arguments: LiteralString
    returns: LiteralString
    body: LiteralString
    language: Literal["plpgsql", "sql"] = "plpgsql"
    volatility: Literal["VOLATILE", "STABLE", "IMMUTABLE"] = "VOLATILE"
    definer: bool = False
    # The two functions that run the caller's SQL must leave the caller's search_path in force.
    pinned: bool = True

    def create(self, names: Names) -> sql.Composed:
        """The statement that creates the function or replaces it in place."""
        return sql.SQL("CREATE OR REPLACE FUNCTION {name}({arguments})\n{traits}\nAS {body}").format(
            name=sql.Identifier(names.schema, self.name),
            arguments=names.fill(self.arguments),
            traits=sql.SQL("\n").join(self._traits(names)),
            body=quoted(names.fill(self.body)),
        )

    def drop(self, names: Names) -> sql.Composed:
        """The statement that drops the function and nothing that depends on it."""
        return sql.SQL("DROP FUNCTION IF EXISTS {name}({types}) RESTRICT").format(
            name=sql.Identifier(names.schema, self.name), types=sql.SQL(self.types)
        )

    def _traits(self, names: Names) -> list[sql.Composable]:
        traits: list[sql.Composable] = [
            names.fill(f"RETURNS {self.returns}"),
            sql.SQL(f"LANGUAGE {self.language} {self.volatility}"),
        ]
        if self.definer:
            traits.append(sql.SQL("SECURITY DEFINER"))
        if self.pinned:
            traits.append(sql.SQL("SET search_path = pg_catalog, pg_temp"))
        return traits


def quoted(body: sql.Composed) -> sql.Composable:
    """The body between dollar quotes, or as a plain string where a schema's name holds that very quote."""
    text = body.as_string(None)
    if BODY_QUOTE in text:
        return sql.Literal(text)
    return sql.SQL(BODY_QUOTE) + body + sql.SQL(BODY_QUOTE)
