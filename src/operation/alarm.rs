//! Alarms: what is wrong at the sites, why, and what helps.

use std::sync::Arc;

use clap::Subcommand;
use dorm_watch::Acknowledged;
use schema::{Alarm, AlarmId, Change};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::{Office, OperationError, Reply, site, unknown};

/// What can be done with alarms.
#[derive(Subcommand, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum AlarmOperation {
    /// List the open alarms, the newest first
    List {
        /// Those of the past too
        #[arg(long)]
        all: bool,
        /// Only those of this site (code or domain)
        #[arg(long)]
        site: Option<String>,
    },
    /// Show one alarm: its cause, its remedy, and who took note
    Show {
        /// Its number, as listed
        id: i64,
    },
    /// Take note of an alarm, so that others know that somebody looks after it
    Ack {
        /// Its number, as listed
        id: i64,
        /// Who takes note; without it, the user of this command
        #[arg(long)]
        by: Option<String>,
        /// What others shall know
        #[arg(long)]
        comment: Option<String>,
    },
}

impl AlarmOperation {
    /// The name that an acknowledgement lacks: only the command line knows who uses it.
    pub(crate) fn wanted_name(&mut self) -> Option<&mut Option<String>> {
        match self {
            AlarmOperation::Ack { by, .. } if by.is_none() => Some(by),
            _ => None,
        }
    }

    pub(super) async fn execute(self, office: &Office) -> Result<Reply, OperationError> {
        match self {
            AlarmOperation::List { all, site } => {
                let site =
                    site.map(|key| site::find(&office.directory, &key)).transpose()?.map(|site| site.id);
                let mut alarms = office.directory.alarms();
                alarms.retain(|alarm| (all || alarm.is_active()) && (site.is_none() || alarm.site == site));
                alarms.sort_by_key(|alarm| std::cmp::Reverse((alarm.raised_at, alarm.id)));
                let rows = alarms.iter().map(|alarm| shown(alarm, office)).collect();
                let columns = [
                    ("ID", "id"),
                    ("KIND", "kind"),
                    ("SITE", "site_code"),
                    ("SUBJECT", "subject"),
                    ("RAISED", "raised"),
                    ("CLEARED", "cleared"),
                    ("BY", "acked_by"),
                    ("CAUSE", "cause"),
                ];
                let is_wanted = |(_, field): &&(&str, &str)| all || *field != "cleared";
                let columns: Vec<_> = columns.iter().filter(is_wanted).copied().collect();
                Ok(Reply::rows(&columns, rows))
            }
            AlarmOperation::Show { id } => Ok(Reply::Item(shown(&*find(office, id)?, office))),
            AlarmOperation::Ack { id, by, comment } => {
                let by = by.unwrap_or_else(|| "unknown".to_owned());
                acked(&*find(office, id)?, &by, &comment).check()?;
                let acked = acknowledge(office, id, by, comment).await?;
                let by = acked.acked_by.clone().unwrap_or_default();
                let message = format!("{by} has taken note of alarm {id}: {}", acked.cause);
                Ok(Reply::Done { message, item: shown(&acked, office) })
            }
        }
    }
}

/// The open alarms of a site, the newest first.
pub(super) fn open_of(office: &Office, site: schema::SiteId) -> Vec<Arc<Alarm>> {
    let mut alarms = office.directory.alarms();
    alarms.retain(|alarm| alarm.is_active() && alarm.site == Some(site));
    alarms.sort_by_key(|alarm| std::cmp::Reverse(alarm.raised_at));
    alarms
}

/// A time in UTC, for people.
pub(super) fn time(unix_ms: i64) -> String {
    let time = jiff::Timestamp::from_millisecond(unix_ms).map(|time| time.strftime("%F %T").to_string());
    time.unwrap_or_default()
}

/// Through the watch when it runs here, because it writes the alarm too; else to the store, from where the watch takes it.
async fn acknowledge(
    office: &Office,
    id: i64,
    by: String,
    comment: Option<String>,
) -> Result<Alarm, OperationError> {
    if let Some(watch) = office.live.as_ref().and_then(|live| live.watch.as_ref()) {
        for _ in 0..TRIES {
            match watch.acknowledge(AlarmId(id), by.clone(), comment.clone()).await {
                Some(Acknowledged::Done(alarm)) => return Ok(*alarm),
                Some(Acknowledged::Unsaved) => return Err(schema::SaveError::Away.into()),
                // One that the watch raises or clears at this moment must not be written between its own writes.
                Some(Acknowledged::NotOpen) if find(office, id)?.is_active() => {
                    tokio::time::sleep(AGAIN).await
                }
                Some(Acknowledged::NotOpen) | None => break,
            }
        }
    }
    match office.write(Change::PutAlarm(acked(&*find(office, id)?, &by, &comment))).await? {
        Change::PutAlarm(alarm) => Ok(alarm),
        _ => Err(OperationError::NoRow),
    }
}

fn acked(alarm: &Alarm, by: &str, comment: &Option<String>) -> Alarm {
    Alarm {
        acked_at: Some(jiff::Timestamp::now().as_millisecond()),
        acked_by: Some(by.to_owned()),
        comment: comment.clone(),
        ..alarm.clone()
    }
}

fn find(office: &Office, id: i64) -> Result<Arc<Alarm>, OperationError> {
    office.directory.alarm(AlarmId(id)).ok_or_else(|| unknown("alarm", &id.to_string()))
}

fn shown(alarm: &Alarm, office: &Office) -> Value {
    let site = alarm.site.and_then(|site| office.directory.site(site));
    json!({
        "id": alarm.id,
        "kind": alarm.kind,
        "state": if alarm.is_active() { "open" } else { "cleared" },
        "site": alarm.site,
        "site_code": site.as_ref().map(|site| &site.code),
        "site_name": site.as_ref().map(|site| &site.name),
        "subject": alarm.subject,
        "raised": time(alarm.raised_at),
        "cleared": alarm.cleared_at.map(time),
        "acked": alarm.acked_at.map(time),
        "acked_by": alarm.acked_by,
        "comment": alarm.comment,
        "cause": alarm.cause,
        "remedy": alarm.remedy,
        "details": alarm.details,
        "raised_at": alarm.raised_at,
        "cleared_at": alarm.cleared_at,
        "acked_at": alarm.acked_at,
    })
}

/// How often the watch is asked about an alarm that the store holds open, and how long between. It does not know one that another
/// watch raised before its next look.
const TRIES: u32 = 20;
const AGAIN: std::time::Duration = std::time::Duration::from_millis(50);
