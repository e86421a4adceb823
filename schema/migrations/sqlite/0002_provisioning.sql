-- Devices and the address plan, for SQLite. Its sister is migrations/postgres.

CREATE TABLE device (
    id INTEGER PRIMARY KEY,
    site INTEGER NOT NULL REFERENCES site (id),
    mac TEXT NOT NULL UNIQUE, -- lower case with colons
    model TEXT NOT NULL,
    vlan INTEGER NOT NULL, -- 0: untagged
    addressing TEXT NOT NULL,
    static_address TEXT,
    line INTEGER REFERENCES line (id),
    neighbours INTEGER -- a router's: how many its neighbour table holds
) STRICT;

CREATE INDEX device_of_site ON device (site);
CREATE INDEX device_of_line ON device (line);

-- The carrier's IPv6 prefix, and how it is cut; one row.
CREATE TABLE pool (
    name TEXT PRIMARY KEY,
    prefix TEXT NOT NULL,
    block_len INTEGER NOT NULL,
    site_len INTEGER NOT NULL,
    rest INTEGER NOT NULL -- seconds
) STRICT, WITHOUT ROWID;

CREATE TABLE region (
    id INTEGER PRIMARY KEY,
    name TEXT NOT NULL UNIQUE
) STRICT;

-- All blocks have one length, so that UNIQUE keeps them apart.
CREATE TABLE region_block (
    id INTEGER PRIMARY KEY,
    region INTEGER NOT NULL REFERENCES region (id),
    prefix TEXT NOT NULL UNIQUE,
    given_at INTEGER NOT NULL -- seconds since 1970
) STRICT;

CREATE INDEX block_of_region ON region_block (region);

CREATE TABLE prefix_allocation (
    id INTEGER PRIMARY KEY,
    prefix TEXT NOT NULL UNIQUE,
    site INTEGER NOT NULL, -- no reference: it rests after its site is gone
    region INTEGER REFERENCES region (id),
    allocated_at INTEGER NOT NULL, -- seconds since 1970
    freed_at INTEGER
) STRICT;

CREATE INDEX allocation_of_region ON prefix_allocation (region);
CREATE UNIQUE INDEX live_allocation_of_site ON prefix_allocation (site) WHERE freed_at IS NULL;

INSERT INTO next_id (kind, next) VALUES ('device', 1), ('region', 1), ('region_block', 1), ('prefix_allocation', 1);
