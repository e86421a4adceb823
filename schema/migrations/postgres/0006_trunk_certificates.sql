-- The name in the certificates of a trunk's gateways, for PostgreSQL. Its sister is migrations/sqlite.

ALTER TABLE trunk ADD COLUMN certificate_name TEXT;
