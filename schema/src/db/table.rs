//! The tables, and the statements that are made from them in the words of each database.

use std::fmt::Write;

use sqlx::{AssertSqlSafe, SqlSafeStr, SqlStr};

/// Which database's SQL to speak.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Dialect {
    Sqlite,
    Postgres,
}

/// A column's type.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Kind {
    Int,
    Text,
    Flag,
}

use Kind::{Flag, Int, Text};

/// A table as the statements need to know it. `migrations/` holds its full definition, once for each database.
#[derive(Debug)]
pub(crate) struct Table {
    /// Its name.
    pub(crate) name: &'static str,
    /// What people call a row.
    pub(crate) what: &'static str,
    /// What people call several.
    pub(crate) plural: &'static str,
    /// Its columns, the key's first.
    pub(crate) columns: &'static [(&'static str, Kind)],
    /// How many of them are the key.
    pub(crate) key: usize,
    /// The column by which people know a row.
    pub(crate) label: &'static str,
    /// Whether the store numbers the rows.
    pub(crate) numbered: bool,
    /// Columns that must be unique, beside the key, and what to call them.
    pub(crate) uniques: &'static [(&'static str, &'static [&'static str])],
    /// The columns that refer to other tables.
    pub(crate) references: &'static [(&'static str, &'static Table)],
    /// The tables whose rows keep a row here from being removed.
    pub(crate) held_by: &'static [(&'static Table, &'static str)],
}

pub(crate) static SITE: Table = Table {
    name: "site",
    what: "site",
    plural: "sites",
    columns: &[
        ("id", Int),
        ("name", Text),
        ("code", Text),
        ("domain", Text),
        ("region", Text),
        ("pattern", Text),
        ("prefix", Text),
    ],
    key: 1,
    label: "code",
    numbered: true,
    uniques: &[("site code", &["code"]), ("site domain", &["domain"])],
    references: &[],
    held_by: &[(&LINE, "site"), (&DEVICE, "site"), (&ACCOUNT, "site")],
};

pub(crate) static LINE: Table = Table {
    name: "line",
    what: "line",
    plural: "lines",
    columns: &[
        ("id", Int),
        ("site", Int),
        ("extension", Text),
        ("auth_user", Text),
        ("display_name", Text),
        ("ha1_md5", Text),
        ("ha1_sha256", Text),
        ("ha1_sha512_256", Text),
        ("sealed_password", Text),
        ("may_call_out", Flag),
        ("may_call_abroad", Flag),
        ("anywhere", Flag),
    ],
    key: 1,
    label: "auth_user",
    numbered: true,
    uniques: &[("auth user", &["auth_user"]), ("extension", &["extension", "site"])],
    references: &[("site", &SITE)],
    held_by: &[(&NUMBER, "line"), (&DEVICE, "line")],
};

pub(crate) static NUMBER: Table = Table {
    name: "number",
    what: "number",
    plural: "numbers",
    columns: &[("e164", Text), ("line", Int)],
    key: 1,
    label: "e164",
    numbered: false,
    uniques: &[],
    references: &[("line", &LINE)],
    held_by: &[],
};

pub(crate) static TRUNK: Table = Table {
    name: "trunk",
    what: "trunk",
    plural: "trunks",
    columns: &[
        ("id", Int),
        ("name", Text),
        ("gateways", Text),
        ("sources", Text),
        ("media_networks", Text),
        ("max_calls", Int),
        ("max_udp_bytes", Int),
        ("default_caller", Text),
        ("enabled", Flag),
        ("certificate_name", Text),
        ("codecs", Text),
        ("may_redirect", Flag),
    ],
    key: 1,
    label: "name",
    numbered: true,
    uniques: &[("trunk name", &["name"])],
    references: &[],
    held_by: &[(&ROUTE, "trunk")],
};

pub(crate) static ROUTE: Table = Table {
    name: "route",
    what: "route",
    plural: "routes",
    columns: &[
        ("id", Int),
        ("prefix", Text),
        ("priority", Int),
        ("trunk", Int),
        ("strip", Int),
        ("prepend", Text),
    ],
    key: 1,
    label: "prefix",
    numbered: true,
    uniques: &[("route prefix of the trunk", &["prefix", "trunk"])],
    references: &[("trunk", &TRUNK)],
    held_by: &[],
};

pub(crate) static BINDING: Table = Table {
    name: "binding",
    what: "binding",
    plural: "bindings",
    columns: &[
        ("line", Int),
        ("contact", Text),
        ("call_id", Text),
        ("cseq", Int),
        ("q", Int),
        ("expires_at", Int),
        ("stored_until", Int),
        ("path", Text),
        ("received", Text),
        ("user_agent", Text),
        ("instance", Text),
        ("reg_id", Int),
        ("source", Text),
    ],
    key: 2,
    label: "contact",
    numbered: false,
    uniques: &[],
    references: &[("line", &LINE)],
    held_by: &[],
};

pub(crate) static CALL_RECORD: Table = Table {
    name: "call_record",
    what: "call record",
    plural: "call records",
    columns: &[
        ("id", Text),
        ("node", Text),
        ("started_at", Int),
        ("answered_at", Int),
        ("ended_at", Int),
        ("caller", Text),
        ("callee", Text),
        ("direction", Text),
        ("line", Int),
        ("trunk", Int),
        ("result", Text),
        ("status", Int),
        ("reason", Text),
        ("ended_by", Text),
        ("media", Text),
        ("call_ids", Text),
        ("explanation", Text),
    ],
    key: 1,
    label: "id",
    numbered: false,
    uniques: &[],
    references: &[],
    held_by: &[],
};

pub(crate) static NODE: Table = Table {
    name: "node",
    what: "node",
    plural: "nodes",
    columns: &[("name", Text), ("roles", Text), ("started_at", Int), ("seen_at", Int)],
    key: 1,
    label: "name",
    numbered: false,
    uniques: &[],
    references: &[],
    held_by: &[],
};

pub(crate) static DEVICE: Table = Table {
    name: "device",
    what: "device",
    plural: "devices",
    columns: &[
        ("id", Int),
        ("site", Int),
        ("mac", Text),
        ("model", Text),
        ("vlan", Int),
        ("addressing", Text),
        ("static_address", Text),
        ("line", Int),
        ("neighbours", Int),
    ],
    key: 1,
    label: "mac",
    numbered: true,
    uniques: &[("MAC", &["mac"])],
    references: &[("site", &SITE), ("line", &LINE)],
    held_by: &[],
};

pub(crate) static POOL: Table = Table {
    name: "pool",
    what: "pool",
    plural: "pools",
    columns: &[("name", Text), ("prefix", Text), ("block_len", Int), ("site_len", Int), ("rest", Int)],
    key: 1,
    label: "name",
    numbered: false,
    uniques: &[],
    references: &[],
    held_by: &[],
};

pub(crate) static REGION: Table = Table {
    name: "region",
    what: "region",
    plural: "regions",
    columns: &[("id", Int), ("name", Text)],
    key: 1,
    label: "name",
    numbered: true,
    uniques: &[("region name", &["name"])],
    references: &[],
    held_by: &[(&REGION_BLOCK, "region"), (&PREFIX_ALLOCATION, "region")],
};

pub(crate) static REGION_BLOCK: Table = Table {
    name: "region_block",
    what: "region block",
    plural: "region blocks",
    columns: &[("id", Int), ("region", Int), ("prefix", Text), ("given_at", Int)],
    key: 1,
    label: "prefix",
    numbered: true,
    uniques: &[("region block", &["prefix"])],
    references: &[("region", &REGION)],
    held_by: &[],
};

pub(crate) static PREFIX_ALLOCATION: Table = Table {
    name: "prefix_allocation",
    what: "prefix allocation",
    plural: "prefix allocations",
    columns: &[
        ("id", Int),
        ("prefix", Text),
        ("site", Int),
        ("region", Int),
        ("allocated_at", Int),
        ("freed_at", Int),
    ],
    key: 1,
    label: "prefix",
    numbered: true,
    uniques: &[("prefix", &["prefix"]), ("prefix of site", &["site"])],
    references: &[("region", &REGION)],
    held_by: &[],
};

pub(crate) static ACCOUNT: Table = Table {
    name: "account",
    what: "account",
    plural: "accounts",
    columns: &[
        ("id", Int),
        ("name", Text),
        ("site", Int),
        ("sealed_password", Text),
        ("link_client", Text),
        ("link_server", Text),
        ("barred", Flag),
    ],
    key: 1,
    label: "name",
    numbered: true,
    uniques: &[("account name", &["name"]), ("account of site", &["site"])],
    references: &[("site", &SITE)],
    held_by: &[],
};

pub(crate) static LEASE: Table = Table {
    name: "lease",
    what: "lease",
    plural: "leases",
    columns: &[
        ("account", Int),
        ("up", Flag),
        ("client", Text),
        ("server", Text),
        ("changed_at", Int),
        ("logins", Int),
        ("takeovers", Int),
        ("previous_client", Text),
        ("neighbours", Int),
        ("neighbour_capacity", Int),
        ("reported_at", Int),
    ],
    key: 1,
    label: "account",
    numbered: false,
    uniques: &[],
    references: &[("account", &ACCOUNT)],
    held_by: &[],
};

pub(crate) static SIGHTING: Table = Table {
    name: "sighting",
    what: "sighting",
    plural: "sightings",
    columns: &[("line", Int), ("source", Text), ("seen_at", Int)],
    key: 1,
    label: "line",
    numbered: false,
    uniques: &[],
    references: &[("line", &LINE)],
    held_by: &[],
};

pub(crate) static ALARM: Table = Table {
    name: "alarm",
    what: "alarm",
    plural: "alarms",
    columns: &[
        ("id", Int),
        ("kind", Text),
        ("site", Int),
        ("subject", Text),
        ("cause", Text),
        ("remedy", Text),
        ("details", Text),
        ("raised_at", Int),
        ("cleared_at", Int),
        ("acked_at", Int),
        ("acked_by", Text),
        ("comment", Text),
    ],
    key: 1,
    label: "subject",
    numbered: true,
    uniques: &[],
    references: &[],
    held_by: &[],
};

impl Table {
    fn names(&self) -> Vec<&'static str> {
        self.columns.iter().map(|(name, _)| *name).collect()
    }

    fn key_names(&self) -> String {
        self.columns.iter().take(self.key).map(|(name, _)| *name).collect::<Vec<_>>().join(", ")
    }

    /// The place of a column among the cells.
    pub(crate) fn place_of(&self, column: &str) -> Option<usize> {
        self.columns.iter().position(|(name, _)| *name == column)
    }
}

/// A table's statements in one dialect. `$1` is a JSON array of arrays: rows, or keys.
#[derive(Debug)]
pub(crate) struct Statements {
    /// Makes or replaces the rows.
    pub(crate) put: SqlStr,
    /// Makes the rows that do not exist, and gives the keys of those.
    pub(crate) add: SqlStr,
    /// Removes the rows with these keys, and gives the keys of those that existed.
    pub(crate) remove: SqlStr,
    /// Reads all rows.
    pub(crate) all: SqlStr,
    /// Reads the rows with these keys.
    pub(crate) some: SqlStr,
}

impl Statements {
    pub(crate) fn of(table: &Table, dialect: Dialect) -> Statements {
        let name = table.name;
        let columns = table.names().join(", ");
        let key = table.key_names();
        let cells = dialect.cells(table.columns);
        let rows = dialect.rows();
        let insert = format!(
            "INSERT INTO {name} ({columns}) SELECT {cells} FROM {rows} WHERE true ON CONFLICT ({key}) DO"
        );
        let replaced: Vec<String> = table
            .names()
            .into_iter()
            .skip(table.key)
            .map(|column| format!("{column} = excluded.{column}"))
            .collect();
        let keys = format!(
            "(SELECT {} FROM {rows})",
            dialect.cells(table.columns.get(..table.key).unwrap_or_default())
        );
        Statements {
            put: made(format!("{insert} UPDATE SET {}", replaced.join(", "))),
            add: made(format!("{insert} NOTHING RETURNING {key}")),
            remove: made(format!("DELETE FROM {name} WHERE ({key}) IN {keys} RETURNING {key}")),
            all: made(format!("SELECT {columns} FROM {name}")),
            some: made(format!("SELECT {columns} FROM {name} WHERE ({key}) IN {keys}")),
        }
    }
}

impl Dialect {
    /// The JSON parameter as a table of one column, `value`.
    pub(crate) fn rows(self) -> &'static str {
        match self {
            Dialect::Sqlite => "json_each($1)",
            Dialect::Postgres => "jsonb_array_elements($1::text::jsonb)",
        }
    }

    /// The elements of `value`, as columns of these types.
    pub(crate) fn cells(self, columns: &[(&str, Kind)]) -> String {
        let mut text = String::new();
        for (index, (_, kind)) in columns.iter().enumerate() {
            let comma = if index == 0 { "" } else { ", " };
            let cast = match (self, kind) {
                (Dialect::Sqlite, _) | (_, Text) => "",
                (_, Int) => "::bigint",
                (_, Flag) => "::boolean",
            };
            // Writing to a String cannot fail.
            let _ = write!(text, "{comma}(value->>{index}){cast}");
        }
        text
    }
}

/// The text comes from this crate alone, never from a user: values travel as parameters.
pub(crate) fn made(sql: String) -> SqlStr {
    AssertSqlSafe(sql).into_sql_str()
}
