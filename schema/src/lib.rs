//! What Centrex6 stores: migrations, rows, the Store trait with SQLite and PostgreSQL behind it.
