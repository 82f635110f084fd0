"""How constraints are dropped."""

from __future__ import annotations

import pytest
from sqlalchemy import Column, ForeignKeyConstraint, Integer, MetaData, Table, UniqueConstraint, make_url
from sqlalchemy.schema import DropConstraint

import keystone_crdb.ddl

assert keystone_crdb.ddl

UNIQUE = UniqueConstraint("id", name="access_rule_external_id_key")
FOREIGN = ForeignKeyConstraint(["id"], ["order.id"], name="order_fkey")
Table("order", MetaData(), Column("id", Integer), UNIQUE, FOREIGN)


@pytest.mark.parametrize(
    ("dialect", "constraint", "expected"),
    [
        ("cockroachdb", UNIQUE, 'DROP INDEX "order"@access_rule_external_id_key CASCADE'),
        ("cockroachdb", FOREIGN, 'ALTER TABLE "order" DROP CONSTRAINT order_fkey'),
        ("postgresql", UNIQUE, 'ALTER TABLE "order" DROP CONSTRAINT access_rule_external_id_key'),
    ],
)
def test_only_unique_constraints_of_cockroachdb_are_dropped_as_indexes(
    dialect: str, constraint: UniqueConstraint | ForeignKeyConstraint, expected: str
) -> None:
    compiled = DropConstraint(constraint).compile(dialect=make_url(f"{dialect}://").get_dialect()())
    assert str(compiled) == expected


def test_if_exists() -> None:
    dialect = make_url("cockroachdb://").get_dialect()()
    compiled = DropConstraint(UNIQUE, if_exists=True).compile(dialect=dialect)
    assert str(compiled) == 'DROP INDEX IF EXISTS "order"@access_rule_external_id_key CASCADE'
