-- The codecs that may pass between a trunk and the phones, for PostgreSQL. Its sister is migrations/sqlite.

ALTER TABLE trunk ADD COLUMN codecs TEXT NOT NULL DEFAULT '[]'; -- a JSON list
