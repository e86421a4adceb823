-- Whether a trunk may send calls elsewhere over itself, for SQLite. Its sister is migrations/postgres.

ALTER TABLE trunk ADD COLUMN may_redirect INTEGER NOT NULL DEFAULT 0;
