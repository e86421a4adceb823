-- What the platform keeps, for SQLite. Its sister is migrations/postgres.

CREATE TABLE site (
    id INTEGER PRIMARY KEY,
    name TEXT NOT NULL,
    code TEXT NOT NULL UNIQUE,
    domain TEXT NOT NULL UNIQUE,
    region TEXT NOT NULL,
    pattern TEXT NOT NULL,
    prefix TEXT
) STRICT;

CREATE TABLE line (
    id INTEGER PRIMARY KEY,
    site INTEGER NOT NULL REFERENCES site (id),
    extension TEXT NOT NULL,
    auth_user TEXT NOT NULL UNIQUE,
    display_name TEXT NOT NULL,
    ha1_md5 TEXT NOT NULL,
    ha1_sha256 TEXT NOT NULL,
    ha1_sha512_256 TEXT NOT NULL,
    sealed_password TEXT NOT NULL,
    may_call_out INTEGER NOT NULL,
    may_call_abroad INTEGER NOT NULL,
    anywhere INTEGER NOT NULL,
    UNIQUE (site, extension)
) STRICT;

CREATE TABLE number (
    e164 TEXT PRIMARY KEY,
    line INTEGER NOT NULL REFERENCES line (id)
) STRICT, WITHOUT ROWID;

CREATE INDEX number_of_line ON number (line);

CREATE TABLE trunk (
    id INTEGER PRIMARY KEY,
    name TEXT NOT NULL UNIQUE,
    gateways TEXT NOT NULL, -- a JSON list, the preferred one first
    sources TEXT NOT NULL, -- a JSON list
    media_networks TEXT NOT NULL, -- a JSON list
    max_calls INTEGER,
    max_udp_bytes INTEGER,
    default_caller TEXT,
    enabled INTEGER NOT NULL
) STRICT;

CREATE TABLE route (
    id INTEGER PRIMARY KEY,
    prefix TEXT NOT NULL,
    priority INTEGER NOT NULL,
    trunk INTEGER NOT NULL REFERENCES trunk (id),
    strip INTEGER NOT NULL,
    prepend TEXT NOT NULL,
    UNIQUE (trunk, prefix)
) STRICT;

CREATE TABLE binding (
    line INTEGER NOT NULL REFERENCES line (id) ON DELETE CASCADE,
    contact TEXT NOT NULL,
    call_id TEXT NOT NULL,
    cseq INTEGER NOT NULL,
    q INTEGER NOT NULL, -- thousandths
    expires_at INTEGER NOT NULL, -- seconds since 1970
    stored_until INTEGER NOT NULL, -- seconds since 1970
    path TEXT NOT NULL, -- a JSON list
    received TEXT NOT NULL,
    user_agent TEXT,
    instance TEXT,
    reg_id INTEGER,
    source TEXT,
    PRIMARY KEY (line, contact)
) STRICT, WITHOUT ROWID;

CREATE TABLE call_record (
    id TEXT PRIMARY KEY,
    node TEXT NOT NULL,
    started_at INTEGER NOT NULL, -- milliseconds since 1970
    answered_at INTEGER,
    ended_at INTEGER,
    caller TEXT NOT NULL,
    callee TEXT NOT NULL,
    direction TEXT NOT NULL,
    line INTEGER, -- no reference: a record outlives its line and trunk
    trunk INTEGER,
    result TEXT NOT NULL,
    status INTEGER,
    reason TEXT NOT NULL,
    ended_by TEXT,
    media TEXT NOT NULL -- JSON
) STRICT;

CREATE INDEX call_record_started ON call_record (started_at);
CREATE INDEX call_record_line ON call_record (line, started_at);

CREATE TABLE node (
    name TEXT PRIMARY KEY,
    roles TEXT NOT NULL, -- a JSON list
    started_at INTEGER NOT NULL, -- milliseconds since 1970
    seen_at INTEGER NOT NULL
) STRICT;

-- The next free number of each numbered table. Numbers are never used twice.
CREATE TABLE next_id (
    kind TEXT PRIMARY KEY,
    next INTEGER NOT NULL
) STRICT;

INSERT INTO next_id (kind, next) VALUES ('site', 1), ('line', 1), ('trunk', 1), ('route', 1);

-- The last batch of each node, and the last one that was pruned from its feed.
CREATE TABLE feed_head (
    node TEXT PRIMARY KEY,
    seq INTEGER NOT NULL,
    pruned INTEGER NOT NULL
) STRICT;

-- One row a batch: the keys of what it touched.
CREATE TABLE feed (
    node TEXT NOT NULL,
    seq INTEGER NOT NULL,
    keys TEXT NOT NULL, -- a JSON list
    PRIMARY KEY (node, seq)
) STRICT, WITHOUT ROWID;
