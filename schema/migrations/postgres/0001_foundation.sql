-- What the platform keeps, for PostgreSQL. Its sister is migrations/sqlite.

CREATE TABLE site (
    id BIGINT PRIMARY KEY,
    name TEXT NOT NULL,
    code TEXT NOT NULL UNIQUE,
    domain TEXT NOT NULL UNIQUE,
    region TEXT NOT NULL,
    pattern TEXT NOT NULL,
    prefix TEXT
);

CREATE TABLE line (
    id BIGINT PRIMARY KEY,
    site BIGINT NOT NULL REFERENCES site (id),
    extension TEXT NOT NULL,
    auth_user TEXT NOT NULL UNIQUE,
    display_name TEXT NOT NULL,
    ha1_md5 TEXT NOT NULL,
    ha1_sha256 TEXT NOT NULL,
    ha1_sha512_256 TEXT NOT NULL,
    sealed_password TEXT NOT NULL,
    may_call_out BOOLEAN NOT NULL,
    may_call_abroad BOOLEAN NOT NULL,
    anywhere BOOLEAN NOT NULL,
    UNIQUE (site, extension)
);

CREATE TABLE number (
    e164 TEXT PRIMARY KEY,
    line BIGINT NOT NULL REFERENCES line (id)
);

CREATE INDEX number_of_line ON number (line);

CREATE TABLE trunk (
    id BIGINT PRIMARY KEY,
    name TEXT NOT NULL UNIQUE,
    gateways TEXT NOT NULL, -- a JSON list, the preferred one first
    sources TEXT NOT NULL, -- a JSON list
    media_networks TEXT NOT NULL, -- a JSON list
    max_calls BIGINT,
    max_udp_bytes BIGINT,
    default_caller TEXT,
    enabled BOOLEAN NOT NULL
);

CREATE TABLE route (
    id BIGINT PRIMARY KEY,
    prefix TEXT NOT NULL,
    priority BIGINT NOT NULL,
    trunk BIGINT NOT NULL REFERENCES trunk (id),
    strip BIGINT NOT NULL,
    prepend TEXT NOT NULL,
    UNIQUE (trunk, prefix)
);

CREATE TABLE binding (
    line BIGINT NOT NULL REFERENCES line (id) ON DELETE CASCADE,
    contact TEXT NOT NULL,
    call_id TEXT NOT NULL,
    cseq BIGINT NOT NULL,
    q BIGINT NOT NULL, -- thousandths
    expires_at BIGINT NOT NULL, -- seconds since 1970
    stored_until BIGINT NOT NULL, -- seconds since 1970
    path TEXT NOT NULL, -- a JSON list
    received TEXT NOT NULL,
    user_agent TEXT,
    instance TEXT,
    reg_id BIGINT,
    source TEXT,
    PRIMARY KEY (line, contact)
);

CREATE TABLE call_record (
    id TEXT PRIMARY KEY,
    node TEXT NOT NULL,
    started_at BIGINT NOT NULL, -- milliseconds since 1970
    answered_at BIGINT,
    ended_at BIGINT,
    caller TEXT NOT NULL,
    callee TEXT NOT NULL,
    direction TEXT NOT NULL,
    line BIGINT, -- no reference: a record outlives its line and trunk
    trunk BIGINT,
    result TEXT NOT NULL,
    status BIGINT,
    reason TEXT NOT NULL,
    ended_by TEXT,
    media TEXT NOT NULL -- JSON
);

CREATE INDEX call_record_started ON call_record (started_at);
CREATE INDEX call_record_line ON call_record (line, started_at);

CREATE TABLE node (
    name TEXT PRIMARY KEY,
    roles TEXT NOT NULL, -- a JSON list
    started_at BIGINT NOT NULL, -- milliseconds since 1970
    seen_at BIGINT NOT NULL
);

-- The next free number of each numbered table. Numbers are never used twice.
CREATE TABLE next_id (
    kind TEXT PRIMARY KEY,
    next BIGINT NOT NULL
);

INSERT INTO next_id (kind, next) VALUES ('site', 1), ('line', 1), ('trunk', 1), ('route', 1);

-- The last batch of each node, and the last one that was pruned from its feed.
CREATE TABLE feed_head (
    node TEXT PRIMARY KEY,
    seq BIGINT NOT NULL,
    pruned BIGINT NOT NULL
);

-- One row a batch: the keys of what it touched.
CREATE TABLE feed (
    node TEXT NOT NULL,
    seq BIGINT NOT NULL,
    keys TEXT NOT NULL, -- a JSON list
    PRIMARY KEY (node, seq)
);
