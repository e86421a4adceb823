-- What a call record tells of its call, for PostgreSQL. Its sister is migrations/sqlite.

ALTER TABLE call_record ADD COLUMN call_ids TEXT NOT NULL DEFAULT '[]'; -- JSON: the Call-IDs of its legs, the caller's first
ALTER TABLE call_record ADD COLUMN explanation TEXT NOT NULL DEFAULT '';
