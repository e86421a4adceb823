//! How sites are: as the watch sees them, or as far as the store knows.

use dorm_provisioning::neighbours::ENTRIES_A_PHONE;
use dorm_watch::{SitePicture, SiteStatus};
use node::config::Role;
use schema::Site;
use serde_json::{Value, json};

use super::alarm::{open_of, time};
use super::{Office, OperationError, Reply};

/// All sites, or one with all that is known of it.
pub(super) async fn reply(office: &Office, site: Option<&Site>) -> Result<Reply, OperationError> {
    let rows = match watched(office).await {
        Some(sites) => sites.iter().map(of_watch).collect(),
        None => of_store(office).await?,
    };
    let Some(site) = site else { return Ok(Reply::rows(&COLUMNS, rows)) };
    let row = rows.into_iter().find(|row| row["code"] == site.code.as_str());
    // A site that was added a moment ago: the watch has not looked yet.
    let row = row.unwrap_or_else(|| json!({ "code": site.code, "name": site.name, "state": "not_seen" }));
    Ok(Reply::Done { message: words(&row), item: row })
}

/// One site for people, a line a matter.
fn words(row: &Value) -> String {
    let text = |value: &Value| match value {
        Value::Null => "?".to_owned(),
        Value::String(text) => text.clone(),
        other => other.to_string(),
    };
    let of = |part: &str, name: &str| text(&row[part][name]);
    let when = |value: &Value| value.as_i64().map_or("?".to_owned(), time);
    let since = row["since"].as_i64().map(|since| format!(" since {}", time(since))).unwrap_or_default();
    let state = text(&row["state"]);
    let mut lines = vec![format!("site {} ({}): {state}{since}", text(&row["code"]), text(&row["name"]))];
    if row["note"].is_string() {
        lines.push(format!("note        {}", text(&row["note"])));
    }
    if row["tunnel"].is_object() {
        let (account, word) = (of("tunnel", "account"), text(&row["tunnel_word"]));
        lines.push(match row["tunnel"]["since"].is_i64() {
            true => format!(
                "tunnel      {word} since {}, account {account}, IAD at {}, tunnel server {}",
                when(&row["tunnel"]["since"]),
                of("tunnel", "client"),
                of("tunnel", "server")
            ),
            false => format!("tunnel      account {account} has never logged in"),
        });
    }
    if row["iad"].is_object() {
        let ago = row["iad"]["answered_seconds_ago"].as_u64();
        let ago = ago.map(|seconds| format!(", answered {seconds} s ago")).unwrap_or_default();
        lines.push(format!("IAD         {} {}{ago}", of("iad", "address"), of("iad", "state")));
    }
    if row["phones"].is_object() {
        let phones = &row["phones"];
        let mut line = format!(
            "phones      {} known, {} registered",
            text(&phones["known"]),
            text(&phones["registered"])
        );
        for (name, what) in
            [("answering", "answering"), ("never_seen", "never seen"), ("waiting", "not asked yet")]
        {
            if phones[name].as_u64().is_some_and(|count| count > 0 || name == "answering") {
                line.push_str(&format!(", {} {what}", phones[name]));
            }
        }
        lines.push(line);
        let mute: Vec<&str> =
            phones["mute"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
        if !mute.is_empty() {
            lines.push(format!("mute        {}", mute.join(", ")));
        }
    }
    if row["neighbours"].is_object() {
        let entries = match row["neighbours"]["reported_at"].is_i64() {
            true => format!(
                "{} in use at {}, ",
                of("neighbours", "entries"),
                when(&row["neighbours"]["reported_at"])
            ),
            false => String::new(),
        };
        let (capacity, needed) = (of("neighbours", "capacity"), of("neighbours", "needed"));
        lines.push(format!("neighbours  {capacity} entries, {entries}{needed} needed"));
    }
    for alarm in row["alarms"].as_array().into_iter().flatten() {
        lines.push(format!(
            "alarm {:<6}{}: {}",
            text(&alarm["id"]),
            text(&alarm["kind"]),
            text(&alarm["cause"])
        ));
    }
    lines.join("\n")
}

async fn watched(office: &Office) -> Option<Vec<SiteStatus>> {
    office.live.as_ref()?.watch.as_ref()?.status().await
}

fn of_watch(status: &SiteStatus) -> Value {
    let mut row = json!(status);
    let phones = &status.phones;
    let answering = phones.answering.map_or("-".to_owned(), |count| count.to_string());
    row["since_time"] = json!(time(status.since));
    row["tunnel_word"] = json!(status.tunnel.as_ref().map(|tunnel| tunnel_word(tunnel.up)));
    row["iad_word"] = json!(status.iad.as_ref().map(|iad| iad.state));
    row["phones_words"] = json!(format!("{answering}/{}/{}", phones.registered, phones.known));
    row["table_words"] = json!(table_words(status.neighbours.entries, status.neighbours.capacity));
    let alarms: Vec<String> =
        status.alarms.iter().map(|alarm| format!("{} {}", alarm.id, alarm.kind)).collect();
    row["alarm_words"] = json!(alarms.join(", "));
    row
}

/// Without a watch here: leases, registrations and alarms are known everywhere.
async fn of_store(office: &Office) -> Result<Vec<Value>, OperationError> {
    let word = Role::Watch.as_str();
    let nodes = office.store.nodes().await?;
    let watchers: Vec<&str> = nodes
        .iter()
        .filter(|node| node.roles.iter().any(|role| role == word))
        .map(|node| node.name.as_str())
        .collect();
    let note = match watchers.as_slice() {
        [] => "no node plays the role watch: nobody asks phones and IADs whether they live".to_owned(),
        names => format!("what answers is known on the node that watches: {}", names.join(", ")),
    };
    let now = std::time::Duration::from_secs(super::unix_now().unsigned_abs());
    let picture = dorm_watch::gather(&office.directory, &office.locations, now);
    Ok(picture.sites.iter().map(|site| of_picture(office, site, &note)).collect())
}

fn of_picture(office: &Office, site: &SitePicture, note: &str) -> Value {
    let lease = site.tunnel.as_ref().and_then(|tunnel| tunnel.lease.as_ref());
    let report = lease.and_then(|lease| lease.report);
    let registered = site.phones.iter().filter(|phone| phone.registered_until.is_some()).count();
    let alarms = open_of(office, site.id);
    let capacity = [site.table, report.and_then(|report| report.capacity)].into_iter().flatten().min();
    let words: Vec<String> = alarms.iter().map(|alarm| format!("{} {}", alarm.id, alarm.kind)).collect();
    json!({
        "id": site.id,
        "code": site.code,
        "name": site.name,
        "state": "not_watched_here",
        "note": note,
        "tunnel": site.tunnel.as_ref().map(|tunnel| json!({
            "account": tunnel.account,
            "up": lease.map(|lease| lease.up),
            "client": lease.and_then(|lease| lease.client),
            "server": lease.and_then(|lease| lease.server),
            "since": lease.map(|lease| lease.changed_at),
        })),
        "iad": site.iad.map(|address| json!({ "address": address, "state": "unknown" })),
        "phones": { "known": site.phones.len(), "registered": registered, "answering": null },
        "neighbours": {
            "needed": site.phones.len() * ENTRIES_A_PHONE as usize,
            "entries": report.map(|report| report.entries),
            "capacity": capacity,
            "reported_at": report.map(|report| report.at),
        },
        "alarms": alarms.iter().map(|alarm| json!({
            "id": alarm.id, "kind": alarm.kind, "subject": alarm.subject, "cause": alarm.cause,
        })).collect::<Vec<_>>(),
        "tunnel_word": site.tunnel.as_ref().map(|_| tunnel_word(lease.map(|lease| lease.up))),
        "phones_words": format!("-/{registered}/{}", site.phones.len()),
        "table_words": table_words(report.map(|report| report.entries), capacity),
        "alarm_words": words.join(", "),
    })
}

fn tunnel_word(up: Option<bool>) -> &'static str {
    match up {
        Some(true) => "up",
        Some(false) => "down",
        None => "never",
    }
}

fn table_words(entries: Option<u32>, capacity: Option<u32>) -> Option<String> {
    let word = |number: Option<u32>| number.map_or("?".to_owned(), |number| number.to_string());
    (entries.is_some() || capacity.is_some()).then(|| format!("{}/{}", word(entries), word(capacity)))
}

const COLUMNS: [(&str, &str); 9] = [
    ("SITE", "code"),
    ("NAME", "name"),
    ("STATE", "state"),
    ("SINCE", "since_time"),
    ("TUNNEL", "tunnel_word"),
    ("IAD", "iad_word"),
    ("ANSWERING/REGISTERED/PHONES", "phones_words"),
    ("NEIGHBOURS", "table_words"),
    ("ALARMS", "alarm_words"),
];
