"""Run by Alembic with the connection that servicekit.db.migrations opened, under its lock."""

from alembic import context

context.configure(connection=context.config.attributes["connection"], transaction_per_migration=True)
with context.begin_transaction():
    context.run_migrations()
