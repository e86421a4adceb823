-- Devices and the address plan, for PostgreSQL. Its sister is migrations/sqlite.

CREATE TABLE device (
    id BIGINT PRIMARY KEY,
    site BIGINT NOT NULL REFERENCES site (id),
    mac TEXT NOT NULL UNIQUE, -- lower case with colons
    model TEXT NOT NULL,
    vlan BIGINT NOT NULL, -- 0: untagged
    addressing TEXT NOT NULL,
    static_address TEXT,
    line BIGINT REFERENCES line (id),
    neighbours BIGINT -- a router's: how many its neighbour table holds
);

CREATE INDEX device_of_site ON device (site);
CREATE INDEX device_of_line ON device (line);

-- The carrier's IPv6 prefix, and how it is cut; one row.
CREATE TABLE pool (
    name TEXT PRIMARY KEY,
    prefix TEXT NOT NULL,
    block_len BIGINT NOT NULL,
    site_len BIGINT NOT NULL,
    rest BIGINT NOT NULL -- seconds
);

CREATE TABLE region (
    id BIGINT PRIMARY KEY,
    name TEXT NOT NULL UNIQUE
);

-- All blocks have one length, so that UNIQUE keeps them apart.
CREATE TABLE region_block (
    id BIGINT PRIMARY KEY,
    region BIGINT NOT NULL REFERENCES region (id),
    prefix TEXT NOT NULL UNIQUE,
    given_at BIGINT NOT NULL -- seconds since 1970
);

CREATE INDEX block_of_region ON region_block (region);

CREATE TABLE prefix_allocation (
    id BIGINT PRIMARY KEY,
    prefix TEXT NOT NULL UNIQUE,
    site BIGINT NOT NULL, -- no reference: it rests after its site is gone
    region BIGINT REFERENCES region (id),
    allocated_at BIGINT NOT NULL, -- seconds since 1970
    freed_at BIGINT
);

CREATE INDEX allocation_of_region ON prefix_allocation (region);
CREATE UNIQUE INDEX live_allocation_of_site ON prefix_allocation (site) WHERE freed_at IS NULL;

INSERT INTO next_id (kind, next) VALUES ('device', 1), ('region', 1), ('region_block', 1), ('prefix_allocation', 1);
