-- The name in the certificates of a trunk's gateways, for SQLite. Its sister is migrations/postgres.

ALTER TABLE trunk ADD COLUMN certificate_name TEXT;
