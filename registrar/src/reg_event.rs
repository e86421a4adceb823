//! The event package `reg` (RFC 3680): what a line's registrations are, told to who subscribed to them.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::time::Duration;

use schema::{Binding, LineId};
use sip_core::wire::SipUri;

use crate::GruuKey;

/// What a subscriber was told last, so that the next document tells what has changed.
#[derive(Debug, Clone, Default)]
pub struct Told {
    /// Counts the documents (RFC 3680 §5.1).
    version: u64,
    /// By the binding's contact.
    contacts: BTreeMap<String, Known>,
}

/// One contact that was told.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Known {
    uri: String,
    q: u16,
    instance: Option<String>,
    call_id: String,
    cseq: u32,
    expires_at: i64,
}

/// The media type of the documents.
pub const MEDIA_TYPE: &str = "application/reginfo+xml";
/// The package's name.
pub const PACKAGE: &str = "reg";

impl Told {
    /// Whether the live bindings differ from what was told: by more than a refresh, of which nobody needs to hear (RFC 3680 §4.7.1).
    pub fn differs(&self, bindings: &[impl AsRef<Binding>]) -> bool {
        let same = |binding: &Binding| {
            self.contacts.get(&binding.contact).is_some_and(|known| {
                known.uri == binding.uri() && known.q == binding.q && known.instance == binding.instance
            })
        };
        bindings.len() != self.contacts.len() || !bindings.iter().all(|binding| same(binding.as_ref()))
    }

    /// Writes the next document, and remembers what it tells: the full state (RFC 3680 §5), with the contacts that went since the last one.
    pub fn document(
        &mut self,
        line: LineId,
        aor: &SipUri,
        bindings: &[impl AsRef<Binding>],
        gruu: &GruuKey,
        unix_now: Duration,
    ) -> String {
        let now = unix_now.as_secs() as i64;
        let before = std::mem::take(&mut self.contacts);
        let mut contacts = String::new();
        for binding in bindings.iter().map(AsRef::as_ref) {
            let known = Known {
                uri: binding.uri().to_owned(),
                q: binding.q,
                instance: binding.instance.clone(),
                call_id: binding.call_id.clone(),
                cseq: binding.cseq,
                expires_at: binding.expires_at,
            };
            let event = match before.get(&binding.contact) {
                None => "registered",
                Some(old) if old.expires_at > known.expires_at => "shortened",
                Some(_) => "refreshed",
            };
            let left = (known.expires_at - now).max(0);
            let public = known.instance.as_deref().and_then(|own| gruu.public(aor, own));
            write_contact(&mut contacts, &binding.contact, &known, ("active", event), left, public);
            self.contacts.insert(binding.contact.clone(), known);
        }
        for (key, gone) in before.iter().filter(|(key, _)| !self.contacts.contains_key(*key)) {
            let event = if gone.expires_at <= now { "expired" } else { "unregistered" };
            write_contact(&mut contacts, key, gone, ("terminated", event), 0, None);
        }
        let state = match (self.contacts.is_empty(), before.is_empty()) {
            (false, _) => "active",
            (true, false) => "terminated",
            (true, true) => "init",
        };
        let (aor, version) = (escaped(&aor.to_string()), self.version);
        self.version += 1;
        format!(
            "<?xml version=\"1.0\"?>\n<reginfo xmlns=\"urn:ietf:params:xml:ns:reginfo\" \
             xmlns:gr=\"urn:ietf:params:xml:ns:gruuinfo\" version=\"{version}\" state=\"full\">\n\
             <registration aor=\"{aor}\" id=\"l{}\" state=\"{state}\">\n{contacts}</registration>\n</reginfo>\n",
            line.0
        )
    }
}

/// RFC 3680 §5.3, RFC 5628 §5.
fn write_contact(
    out: &mut String,
    key: &str,
    known: &Known,
    (state, event): (&str, &str),
    left: i64,
    public: Option<SipUri>,
) {
    // Writing to a String cannot fail.
    let _ = write!(
        out,
        "<contact id=\"c{:016x}\" state=\"{state}\" event=\"{event}\" expires=\"{left}\" q=\"{}.{:03}\" callid=\"{}\" \
         cseq=\"{}\"><uri>{}</uri>",
        fingerprint(key),
        known.q / 1000,
        known.q % 1000,
        escaped(&known.call_id),
        known.cseq,
        escaped(&known.uri),
    );
    if let Some(instance) = &known.instance {
        let _ = write!(out, "<unknown-param name=\"+sip.instance\">{}</unknown-param>", escaped(instance));
    }
    if let Some(public) = public {
        let _ = write!(out, "<gr:pub-gruu uri=\"{}\"/>", escaped(&public.to_string()));
    }
    out.push_str("</contact>\n");
}

/// Text that stands in an element or between double quotes. What XML cannot hold at all is left out.
fn escaped(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            '\t' | '\u{20}'..='\u{d7ff}' | '\u{e000}'..='\u{fffd}' | '\u{10000}'.. => escaped.push(character),
            _ => {}
        }
    }
    escaped
}

/// FNV-1a: the same name for a contact in every document, on every node.
fn fingerprint(text: &str) -> u64 {
    text.bytes()
        .fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3))
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use sip_core::wire::Uri;

    use super::*;
    use crate::register::tests::binding;

    fn document(told: &mut Told, bindings: &[Arc<Binding>], now: u64) -> String {
        let aor: Uri = "sip:101@s1.example.net".parse().unwrap();
        let key = GruuKey::new([1; 32]);
        told.document(LineId(7), aor.sip().unwrap(), bindings, &key, Duration::from_secs(now))
    }

    fn registered(contact: &str, expires_at: i64) -> Arc<Binding> {
        Arc::new(binding(contact, expires_at))
    }

    /// RFC 3680 §5.1: each document has the next version, and tells the full state.
    /// RFC 3680 §5.3: a contact that went is told once, with the event that took it away.
    #[test]
    fn contacts_come_and_go() {
        let mut told = Told::default();
        assert!(!told.differs(&[] as &[Arc<Binding>]));
        let first = document(&mut told, &[], 0);
        assert!(
            first.contains("version=\"0\" state=\"full\"") && first.contains("state=\"init\""),
            "{first}"
        );
        let (one, two) = (registered("sip:a@[::1]", 100), registered("sip:b@[::1]", 50));
        assert!(told.differs(std::slice::from_ref(&one)));
        let both = document(&mut told, &[one.clone(), two.clone()], 10);
        assert!(both.contains("version=\"1\"") && both.contains("id=\"l7\" state=\"active\""), "{both}");
        assert_eq!(both.matches("event=\"registered\"").count(), 2);
        assert!(both.contains("expires=\"90\"") && both.contains("<uri>sip:a@[::1]</uri>"));
        // A refresh is no news.
        let later = registered("sip:a@[::1]", 200);
        assert!(!told.differs(&[later.clone(), two]));
        assert!(told.differs(std::slice::from_ref(&later)));
        let one_left = document(&mut told, &[later], 60);
        assert!(
            one_left.contains("event=\"refreshed\"")
                && one_left.contains("state=\"terminated\" event=\"expired\"")
        );
        let none = document(&mut told, &[], 70);
        assert!(none.contains("state=\"terminated\">") && none.contains("event=\"unregistered\""), "{none}");
        assert!(!document(&mut told, &[], 70).contains("<contact"));
    }

    /// RFC 5628 §5: the public GRUU of a contact is told.
    #[test]
    fn nothing_breaks_out_of_its_element() {
        let odd = Binding {
            instance: Some("\"<urn:x:1>\"".to_owned()),
            call_id: "a\"/><b>&\u{1}".to_owned(),
            ..binding("sip:a&b@[::1]", 100)
        };
        let text = document(&mut Told::default(), &[Arc::new(odd)], 0);
        assert!(text.contains("callid=\"a&quot;/&gt;&lt;b&gt;&amp;\""), "{text}");
        assert!(text.contains("<uri>sip:a&amp;b@[::1]</uri>"));
        assert!(text.contains("<gr:pub-gruu uri=\"sip:101@s1.example.net;gr=urn:x:1\"/>"), "{text}");
        assert!(text.contains(">&quot;&lt;urn:x:1&gt;&quot;</unknown-param>"));
    }
}
