-- Tunnel accounts, what the broker saw of them, and what the watch found, for PostgreSQL. Its sister is migrations/sqlite.

CREATE TABLE account (
    id BIGINT PRIMARY KEY,
    name TEXT NOT NULL UNIQUE,
    site BIGINT NOT NULL UNIQUE REFERENCES site (id),
    sealed_password TEXT NOT NULL,
    link_client TEXT, -- both ends of the numbered link, or neither
    link_server TEXT,
    barred BOOLEAN NOT NULL,
    CHECK ((link_client IS NULL) = (link_server IS NULL))
);

-- What the broker last saw of an account.
CREATE TABLE lease (
    account BIGINT PRIMARY KEY REFERENCES account (id) ON DELETE CASCADE,
    up BOOLEAN NOT NULL,
    client TEXT,
    server TEXT,
    changed_at BIGINT NOT NULL, -- milliseconds since 1970
    logins BIGINT NOT NULL,
    takeovers BIGINT NOT NULL,
    previous_client TEXT,
    neighbours BIGINT,
    neighbour_capacity BIGINT,
    reported_at BIGINT
);

-- Where a line's valid credential was last used from outside its site.
CREATE TABLE sighting (
    line BIGINT PRIMARY KEY REFERENCES line (id) ON DELETE CASCADE,
    source TEXT NOT NULL,
    seen_at BIGINT NOT NULL -- milliseconds since 1970
);

CREATE TABLE alarm (
    id BIGINT PRIMARY KEY,
    kind TEXT NOT NULL,
    site BIGINT, -- no reference: an alarm outlives its site
    subject TEXT NOT NULL,
    cause TEXT NOT NULL,
    remedy TEXT NOT NULL,
    details TEXT NOT NULL, -- JSON
    raised_at BIGINT NOT NULL, -- milliseconds since 1970
    cleared_at BIGINT,
    acked_at BIGINT,
    acked_by TEXT,
    comment TEXT
);

INSERT INTO next_id (kind, next) VALUES ('account', 1), ('alarm', 1);
