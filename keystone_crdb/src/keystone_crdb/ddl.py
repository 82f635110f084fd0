"""DDL that CockroachDB wants in other words."""

from __future__ import annotations

from typing import Any

from sqlalchemy.ext.compiler import compiles
from sqlalchemy.schema import DropConstraint, UniqueConstraint


@compiles(DropConstraint, "cockroachdb")
def drop_constraint(element: DropConstraint, compiler: Any, **options: Any) -> str:
    """A unique constraint is dropped with its index, which every version can.

    ``ALTER TABLE … DROP CONSTRAINT`` of a unique constraint is refused (SQLSTATE 0A000) before v26.2:
    https://github.com/cockroachdb/cockroach/issues/42840
    """
    constraint = element.element
    if not isinstance(constraint, UniqueConstraint):
        return str(compiler.visit_drop_constraint(element, **options))
    prepare = compiler.preparer
    exists = "IF EXISTS " if element.if_exists else ""
    return (
        f"DROP INDEX {exists}{prepare.format_table(constraint.table)}@{prepare.format_constraint(constraint)} CASCADE"
    )
