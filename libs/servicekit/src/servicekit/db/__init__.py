"""PostgreSQL: sessions, tables of every service, migrations, upkeep."""
