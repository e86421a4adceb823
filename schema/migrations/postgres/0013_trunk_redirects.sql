-- Whether a trunk may send calls elsewhere over itself, for PostgreSQL. Its sister is migrations/sqlite.

ALTER TABLE trunk ADD COLUMN may_redirect BOOLEAN NOT NULL DEFAULT FALSE;
