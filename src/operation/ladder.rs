//! A call as a ladder of its SIP messages, from what a node remembers.

use std::fmt::Write;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use node::trace::{Traced, Way, hep};
use serde_json::{Value, json};
use sip_core::wire::{Limits, Message, Name};

/// The messages of a call, and who sent them to whom.
pub(super) struct Ladder {
    /// In the order in which they first speak or are spoken to.
    parties: Vec<Party>,
    rungs: Vec<Rung>,
}

/// Who takes part.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Party {
    /// A role of ours.
    Role(Arc<str>),
    /// Somebody else, by address.
    Other(SocketAddr),
}

/// One message.
struct Rung {
    at: SystemTime,
    from: usize,
    to: usize,
    traced: Traced,
    summary: String,
    /// The same message went the same way before.
    is_repeated: bool,
}

impl Ladder {
    /// Draws what was traced, which is in the order of time.
    pub(super) fn of(traced: Vec<Traced>) -> Ladder {
        let mut ladder = Ladder { parties: Vec::new(), rungs: Vec::new() };
        let mut taken = vec![false; traced.len()];
        for (at, message) in traced.iter().enumerate() {
            if taken.get(at).copied().unwrap_or_default() {
                continue;
            }
            // What one role of this node sent to another was traced twice.
            let arrival = (message.way == Way::Sent)
                .then(|| {
                    let mut later = traced.iter().enumerate().skip(at + 1);
                    later.find(|(other, received)| {
                        !taken.get(*other).copied().unwrap_or_default() && is_arrival(message, received)
                    })
                })
                .flatten();
            if let Some(slot) = arrival.and_then(|(other, _)| taken.get_mut(other)) {
                *slot = true;
            }
            let own = Party::Role(Arc::clone(&message.role));
            let other = match arrival {
                Some((_, received)) => Party::Role(Arc::clone(&received.role)),
                None => Party::Other(message.flow.remote),
            };
            let (from, to) = match message.way {
                Way::Received => (other, own),
                Way::Sent => (own, other),
            };
            ladder.add(message, from, to);
        }
        ladder
    }

    /// For programs; `name` gives a party's name by its address.
    pub(super) fn json(&self, name: impl Fn(SocketAddr) -> Option<String>, with_text: bool) -> Value {
        let started = self.started();
        let shown =
            |party: usize| self.parties.get(party).map(|party| party.title(&name)).unwrap_or_default();
        let rungs = self.rungs.iter().map(|rung| {
            let mut row = json!({
                "at_ms": ms(rung.at.duration_since(UNIX_EPOCH).unwrap_or_default()),
                "after_ms": ms(rung.at.duration_since(started).unwrap_or_default()),
                "from": shown(rung.from),
                "to": shown(rung.to),
                "transport": rung.traced.flow.transport.as_str(),
                "local": rung.traced.flow.local,
                "remote": rung.traced.flow.remote,
                "summary": rung.summary,
                "repeated": rung.is_repeated,
            });
            if with_text {
                row["message"] = json!(rung.text());
            }
            row
        });
        rungs.collect()
    }

    /// For a terminal.
    pub(super) fn text(&self, name: impl Fn(SocketAddr) -> Option<String>, with_text: bool) -> String {
        let titles: Vec<String> = self.parties.iter().map(|party| party.title(&name)).collect();
        let places: Vec<String> = self.parties.iter().map(|party| party.place(&name)).collect();
        let width = |at: usize| {
            [&titles, &places].iter().filter_map(|row| row.get(at)).map(|cell| cell.chars().count()).max()
        };
        let width = (0..titles.len()).filter_map(width).max().unwrap_or_default().max(LABEL) + 2;
        let mut text = String::new();
        for row in [&titles, &places] {
            let line = row.iter().fold(String::new(), |line, cell| line + &format!("{cell:^width$}"));
            // Writing to a String cannot fail.
            let _ = writeln!(text, "{:MARGIN$}{}", "", line.trim_end());
        }
        let started = self.started();
        for rung in &self.rungs {
            let after = ms(rung.at.duration_since(started).unwrap_or_default()) / 1000.0;
            let _ = writeln!(text, "{after:>9.3} s {}", self.drawn(rung, width));
        }
        if with_text {
            for rung in &self.rungs {
                let after = ms(rung.at.duration_since(started).unwrap_or_default()) / 1000.0;
                let _ = write!(text, "\n--- {after:.3} s  {}\n{}", rung.traced.flow, rung.text());
            }
        }
        text.trim_end().to_owned()
    }

    fn add(&mut self, traced: &Traced, from: Party, to: Party) {
        let (from, to) = (self.place_of(from), self.place_of(to));
        let is_same = |rung: &Rung| (rung.from, rung.to) == (from, to) && rung.traced.bytes == traced.bytes;
        let is_repeated = self.rungs.iter().any(is_same);
        let summary = summary(traced);
        self.rungs.push(Rung { at: traced.at, from, to, traced: traced.clone(), summary, is_repeated });
    }

    fn place_of(&mut self, party: Party) -> usize {
        self.parties.iter().position(|known| *known == party).unwrap_or_else(|| {
            self.parties.push(party);
            self.parties.len() - 1
        })
    }

    fn started(&self) -> SystemTime {
        self.rungs.first().map_or(UNIX_EPOCH, |rung| rung.at)
    }

    /// One line: a bar a party, and the arrow between two of them.
    fn drawn(&self, rung: &Rung, width: usize) -> String {
        let bar = |party: usize| party * width + width / 2;
        let mut line = vec![' '; self.parties.len() * width];
        let mut put = |at: usize, sign: char| {
            if let Some(place) = line.get_mut(at) {
                *place = sign;
            }
        };
        (0..self.parties.len()).for_each(|party| put(bar(party), '|'));
        let (left, right) = (bar(rung.from.min(rung.to)), bar(rung.from.max(rung.to)));
        (left + 1..right).for_each(|at| put(at, '-'));
        let forward = rung.from < rung.to;
        put(if forward { right.saturating_sub(1) } else { left + 1 }, if forward { '>' } else { '<' });
        let again = if rung.is_repeated { " (again)" } else { "" };
        let label = format!(" {}{again} ", rung.summary);
        let room = (right - left).saturating_sub(5);
        // Beside the end that it leaves from.
        let length = label.chars().count().min(room);
        let start = if forward { left + 2 } else { right.saturating_sub(1 + length) };
        label.chars().take(room).enumerate().for_each(|(at, sign)| put(start + at, sign));
        line.into_iter().collect::<String>().trim_end().to_owned()
    }
}

impl Party {
    fn title(&self, name: impl Fn(SocketAddr) -> Option<String>) -> String {
        match self {
            Party::Role(role) => role.to_string(),
            Party::Other(addr) => name(*addr).unwrap_or_else(|| addr.to_string()),
        }
    }

    /// The second line of a heading: the address, when the first is a name.
    fn place(&self, name: impl Fn(SocketAddr) -> Option<String>) -> String {
        match self {
            Party::Other(addr) if name(*addr).is_some() => addr.to_string(),
            Party::Other(_) | Party::Role(_) => String::new(),
        }
    }
}

impl Rung {
    /// The message without the keys of its media, as far as it is text.
    fn text(&self) -> String {
        String::from_utf8_lossy(&hep::without_keys(&self.traced.bytes)).replace("\r\n", "\n")
    }
}

/// Whether `received` is what `sent` became at another role of this node.
fn is_arrival(sent: &Traced, received: &Traced) -> bool {
    received.way == Way::Received && received.role != sent.role && received.bytes == sent.bytes
}

/// A message in a few words.
fn summary(traced: &Traced) -> String {
    let Ok(message) = Message::parse(traced.bytes.clone(), &Limits::default()) else {
        return "cannot be read".to_owned();
    };
    let has_sdp = message.text(Name::ContentType).is_some_and(|kind| kind.contains("sdp"));
    let sdp = if has_sdp && !message.body().is_empty() { ", SDP" } else { "" };
    match (message.method(), message.status()) {
        (Some(method), _) => format!("{method}{sdp}"),
        (None, Some(status)) => {
            let method = message.cseq().map(|cseq| format!(" ({})", cseq.method)).unwrap_or_default();
            format!("{} {}{method}{sdp}", status.code(), message.reason())
        }
        (None, None) => String::new(),
    }
}

fn ms(span: Duration) -> f64 {
    (span.as_micros() as f64) / 1000.0
}

/// Room for the label of an arrow.
const LABEL: usize = 28;
/// Before the bars: the time.
const MARGIN: usize = 12;

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use sip_core::flow::{Flow, Transport};

    use super::*;

    fn traced(at: u64, role: &str, way: Way, local: &str, remote: &str, text: &str) -> Traced {
        let flow = Flow {
            transport: Transport::Udp,
            local: local.parse().unwrap(),
            remote: remote.parse().unwrap(),
            connection: None,
        };
        let at = UNIX_EPOCH + Duration::from_millis(1_000_000 + at);
        Traced { at, role: role.into(), way, flow, bytes: Bytes::copy_from_slice(text.as_bytes()) }
    }

    fn call() -> Vec<Traced> {
        let (phone, proxy) = ("[2001:db8::7]:5060", "[2001:db8::1]:5060");
        let (inside, outside, gateway) = ("[2001:db8::1]:5070", "192.0.2.1:5070", "192.0.2.9:5060");
        let head = "Via: SIP/2.0/UDP [2001:db8::7];branch=z9hG4bKa\r\nFrom: <sip:a@b>;tag=1\r\nTo: <sip:c@d>\r\nCall-ID: x\r\n";
        let invite = format!(
            "INVITE sip:c@d SIP/2.0\r\n{head}CSeq: 1 INVITE\r\nMax-Forwards: 70\r\nContent-Type: application/sdp\r\nContent-Length: 5\r\n\r\nv=0\r\n"
        );
        let out = invite.replace("Call-ID: x", "Call-ID: y");
        let busy = format!("SIP/2.0 486 Busy Here\r\n{head}CSeq: 1 INVITE\r\nContent-Length: 0\r\n\r\n");
        vec![
            traced(0, "proxy", Way::Received, proxy, phone, &invite),
            traced(1, "proxy", Way::Sent, proxy, inside, &invite),
            traced(2, "translator", Way::Received, inside, proxy, &invite),
            traced(3, "translator", Way::Sent, outside, gateway, &out),
            traced(503, "translator", Way::Sent, outside, gateway, &out),
            traced(600, "translator", Way::Received, outside, gateway, &busy),
            traced(601, "translator", Way::Sent, inside, proxy, &busy),
            traced(602, "proxy", Way::Received, proxy, inside, &busy),
            traced(603, "proxy", Way::Sent, proxy, phone, &busy),
        ]
    }

    #[test]
    fn a_call_is_drawn() {
        let name =
            |addr: SocketAddr| (addr.port() == 5060 && addr.is_ipv4()).then(|| "trunk carrier".to_owned());
        let expected = "
                  [2001:db8::7]:5060                  proxy                       translator                  trunk carrier
                                                                                                              192.0.2.9:5060
    0.000 s                |- INVITE, SDP -------------->|                             |                             |
    0.001 s                |                             |- INVITE, SDP -------------->|                             |
    0.003 s                |                             |                             |- INVITE, SDP -------------->|
    0.503 s                |                             |                             |- INVITE, SDP (again) ------>|
    0.600 s                |                             |                             |<--- 486 Busy Here (INVITE) -|
    0.601 s                |                             |<--- 486 Busy Here (INVITE) -|                             |
    0.603 s                |<--- 486 Busy Here (INVITE) -|                             |                             |";
        let drawn = Ladder::of(call()).text(name, false);
        assert_eq!(format!("\n{drawn}"), expected, "\n{drawn}");
    }

    #[test]
    fn programs_get_every_message_with_its_text() {
        let rows = Ladder::of(call()).json(|_| None, true);
        assert_eq!(rows.as_array().map(Vec::len), Some(7));
        assert_eq!((&rows[0]["from"], &rows[0]["to"]), (&json!("[2001:db8::7]:5060"), &json!("proxy")));
        assert_eq!((&rows[1]["from"], &rows[1]["to"]), (&json!("proxy"), &json!("translator")));
        assert_eq!((&rows[3]["repeated"], &rows[3]["after_ms"]), (&json!(true), &json!(503.0)));
        assert!(rows[0]["message"].as_str().is_some_and(|text| text.starts_with("INVITE sip:c@d SIP/2.0\n")));
    }
}
