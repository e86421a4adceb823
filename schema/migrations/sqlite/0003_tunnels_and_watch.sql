-- Tunnel accounts, what the broker saw of them, and what the watch found, for SQLite. Its sister is migrations/postgres.

CREATE TABLE account (
    id INTEGER PRIMARY KEY,
    name TEXT NOT NULL UNIQUE,
    site INTEGER NOT NULL UNIQUE REFERENCES site (id),
    sealed_password TEXT NOT NULL,
    link_client TEXT, -- both ends of the numbered link, or neither
    link_server TEXT,
    barred INTEGER NOT NULL,
    CHECK ((link_client IS NULL) = (link_server IS NULL))
) STRICT;

-- What the broker last saw of an account.
CREATE TABLE lease (
    account INTEGER PRIMARY KEY REFERENCES account (id) ON DELETE CASCADE,
    up INTEGER NOT NULL,
    client TEXT,
    server TEXT,
    changed_at INTEGER NOT NULL, -- milliseconds since 1970
    logins INTEGER NOT NULL,
    takeovers INTEGER NOT NULL,
    previous_client TEXT,
    neighbours INTEGER,
    neighbour_capacity INTEGER,
    reported_at INTEGER
) STRICT;

-- Where a line's valid credential was last used from outside its site.
CREATE TABLE sighting (
    line INTEGER PRIMARY KEY REFERENCES line (id) ON DELETE CASCADE,
    source TEXT NOT NULL,
    seen_at INTEGER NOT NULL -- milliseconds since 1970
) STRICT;

CREATE TABLE alarm (
    id INTEGER PRIMARY KEY,
    kind TEXT NOT NULL,
    site INTEGER, -- no reference: an alarm outlives its site
    subject TEXT NOT NULL,
    cause TEXT NOT NULL,
    remedy TEXT NOT NULL,
    details TEXT NOT NULL, -- JSON
    raised_at INTEGER NOT NULL, -- milliseconds since 1970
    cleared_at INTEGER,
    acked_at INTEGER,
    acked_by TEXT,
    comment TEXT
) STRICT;

INSERT INTO next_id (kind, next) VALUES ('account', 1), ('alarm', 1);
