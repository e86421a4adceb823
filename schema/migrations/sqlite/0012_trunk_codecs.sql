-- The codecs that may pass between a trunk and the phones, for SQLite. Its sister is migrations/postgres.

ALTER TABLE trunk ADD COLUMN codecs TEXT NOT NULL DEFAULT '[]'; -- a JSON list
