-- A matter has one open alarm, also when two watches run by mistake.

CREATE UNIQUE INDEX alarm_open ON alarm (kind, subject) WHERE cleared_at IS NULL;
