//! What an operation answers, and how it looks on a terminal.

use std::fmt::Write;

use serde::{Deserialize, Serialize};
use serde_json::Value;

/// The answer to an operation.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Reply {
    /// A listing.
    Rows {
        /// What a terminal shows, in this order; `--json` gives every field.
        columns: Vec<Column>,
        /// One JSON object each.
        rows: Vec<Value>,
    },
    /// One thing with all its fields.
    Item(Value),
    /// Something was done.
    Done {
        /// For people.
        message: String,
        /// What it concerns, for `--json`.
        item: Value,
    },
}

/// A column of a listing.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Column {
    /// The heading.
    pub title: String,
    /// The field of each row's object.
    pub field: String,
}

impl Reply {
    /// A listing of `(title, field)` columns.
    pub(crate) fn rows(columns: &[(&str, &str)], rows: Vec<Value>) -> Reply {
        let column =
            |(title, field): &(&str, &str)| Column { title: (*title).to_owned(), field: (*field).to_owned() };
        Reply::Rows { columns: columns.iter().map(column).collect(), rows }
    }

    /// As JSON: an array for a listing, else an object.
    pub(crate) fn json(&self) -> Value {
        match self {
            Reply::Rows { rows, .. } => Value::Array(rows.clone()),
            Reply::Item(item) | Reply::Done { item, .. } => item.clone(),
        }
    }

    /// For a terminal: a table, a list of fields, or a sentence.
    pub(crate) fn text(&self) -> String {
        match self {
            Reply::Rows { columns, rows } => table(columns, rows),
            Reply::Item(item) => fields(item),
            Reply::Done { message, .. } => format!("{message}\n"),
        }
    }
}

fn table(columns: &[Column], rows: &[Value]) -> String {
    let cells: Vec<Vec<String>> = rows
        .iter()
        .map(|row| {
            columns.iter().map(|column| cell(row.get(&column.field).unwrap_or(&Value::Null))).collect()
        })
        .collect();
    let widths: Vec<usize> = columns
        .iter()
        .enumerate()
        .map(|(at, column)| {
            let widest = cells.iter().filter_map(|row| row.get(at)).map(|cell| cell.chars().count()).max();
            widest.unwrap_or(0).max(column.title.chars().count())
        })
        .collect();
    let line = |cells: Vec<&str>| {
        let padded = cells.iter().zip(&widths).map(|(cell, width)| format!("{cell:<width$}"));
        padded.collect::<Vec<_>>().join("  ").trim_end().to_owned() + "\n"
    };
    let mut text = line(columns.iter().map(|column| column.title.as_str()).collect());
    text.extend(cells.iter().map(|row| line(row.iter().map(String::as_str).collect())));
    text
}

fn fields(item: &Value) -> String {
    let Value::Object(map) = item else { return format!("{}\n", cell(item)) };
    let width = map.keys().map(|key| key.chars().count()).max().unwrap_or(0);
    map.iter().fold(String::new(), |mut text, (key, value)| {
        let shown = match value {
            Value::Object(_) | Value::Array(_) if !is_flat(value) => {
                let pretty = serde_json::to_string_pretty(value).unwrap_or_default();
                pretty.replace('\n', &format!("\n{:width$}  ", ""))
            }
            flat => cell(flat),
        };
        // Writing to a String cannot fail.
        let _ = writeln!(text, "{key:<width$}  {shown}");
        text
    })
}

fn is_flat(value: &Value) -> bool {
    matches!(value, Value::Array(items) if items.iter().all(|item| !item.is_array() && !item.is_object()))
}

fn cell(value: &Value) -> String {
    match value {
        Value::Null => "-".to_owned(),
        Value::Bool(true) => "yes".to_owned(),
        Value::Bool(false) => "no".to_owned(),
        Value::String(text) => text.clone(),
        Value::Array(items) => items.iter().map(cell).collect::<Vec<_>>().join(" "),
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_listing_lines_up() {
        let rows = vec![
            json!({"name": "Sakura", "code": "8042", "open": true}),
            json!({"name": "Ume", "code": "8"}),
        ];
        let reply = Reply::rows(&[("NAME", "name"), ("CODE", "code"), ("OPEN", "open")], rows);
        assert_eq!(reply.text(), "NAME    CODE  OPEN\nSakura  8042  yes\nUme     8     -\n");
    }

    #[test]
    fn an_item_shows_every_field() {
        let reply =
            Reply::Item(json!({"name": "carrier", "gateways": ["udp:192.0.2.1:5060"], "media": {"lost": 0}}));
        assert_eq!(
            reply.text(),
            "name      carrier\ngateways  udp:192.0.2.1:5060\nmedia     {\n            \"lost\": 0\n          }\n"
        );
    }
}
