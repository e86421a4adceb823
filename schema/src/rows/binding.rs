use std::net::SocketAddr;

use serde::{Deserialize, Serialize};

use super::{InvalidRow, LineId, check_text, ensure};

/// What a line's phone registered: address-of-record to contact (RFC 3261 §10). Line and contact are its key.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Binding {
    /// The line.
    pub line: LineId,
    /// The contact: its URI. One of several flows of a phone (RFC 5626) has its number behind it, `<sip:…>;reg-id=2`, because flows
    /// have the same URI more often than not.
    pub contact: String,
    /// The Call-ID of the REGISTER that last changed it.
    pub call_id: String,
    /// The CSeq number of that REGISTER.
    pub cseq: u32,
    /// The preference, in thousandths: 0 to 1000.
    pub q: u16,
    /// When it lapses, in seconds since 1970.
    pub expires_at: i64,
    /// When the stored row lapses, in seconds since 1970: the expiry plus a margin, so that a refresh inside it needs no commit.
    pub stored_until: i64,
    /// The Path that requests to it take (RFC 3327), one URI an entry, the first to visit first.
    pub path: Vec<String>,
    /// The flow that the REGISTER came over, as the registrar writes it: transport, local and remote
    /// address, and the name of the node whose flow it is.
    pub received: String,
    /// The phone's User-Agent header.
    pub user_agent: Option<String>,
    /// The phone's instance (RFC 5626 §4.1).
    pub instance: Option<String>,
    /// The flow's number within the instance (RFC 5626 §4.2).
    pub reg_id: Option<u32>,
    /// The address that the phone was seen to send from.
    pub source: Option<SocketAddr>,
}

impl Binding {
    /// What stands in `contact`.
    pub fn contact_of(uri: &str, flow: Option<u32>) -> String {
        flow.map_or_else(|| uri.to_owned(), |number| format!("<{uri}>;reg-id={number}"))
    }

    /// The contact's URI.
    pub fn uri(&self) -> &str {
        let inside = self.contact.strip_prefix('<').and_then(|rest| rest.split_once('>'));
        inside.map_or(self.contact.as_str(), |(uri, _)| uri)
    }

    /// Whether it is one of several flows of a phone (RFC 5626): reached over that flow only.
    pub fn is_flow(&self) -> bool {
        self.contact.starts_with('<')
    }

    /// Whether the binding may be stored.
    ///
    /// # Errors
    /// The first field that is not valid.
    pub fn check(&self) -> Result<(), InvalidRow> {
        ensure(!self.contact.is_empty(), "binding contact", "", "use the contact's URI")?;
        check_text("binding contact", &self.contact, MAX_URI)?;
        check_text("binding Call-ID", &self.call_id, 512)?;
        ensure(self.q <= 1000, "binding q", &self.q.to_string(), "use 0 to 1000")?;
        ensure(
            self.path.len() <= 16,
            "binding path",
            &self.path.len().to_string(),
            "use at most 16 entries",
        )?;
        for uri in &self.path {
            check_text("binding path", uri, MAX_URI)?;
        }
        check_text("binding flow", &self.received, 256)?;
        check_text("binding User-Agent", self.user_agent.as_deref().unwrap_or_default(), 512)?;
        check_text("binding instance", self.instance.as_deref().unwrap_or_default(), 512)
    }
}

/// The longest URI that is stored, in bytes; it must fit into an index entry of either database.
const MAX_URI: usize = 1024;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flows_with_one_uri_are_told_apart() {
        let uri = "sip:101@[2001:db8::7]:5060;transport=tcp";
        let binding = |flow| Binding {
            line: LineId(1),
            contact: Binding::contact_of(uri, flow),
            call_id: String::new(),
            cseq: 1,
            q: 1000,
            expires_at: 0,
            stored_until: 0,
            path: Vec::new(),
            received: "x".to_owned(),
            user_agent: None,
            instance: None,
            reg_id: flow,
            source: None,
        };
        let (plain, one, two) = (binding(None), binding(Some(1)), binding(Some(2)));
        assert_eq!([plain.uri(), one.uri(), two.uri()], [uri; 3]);
        assert_eq!([plain.is_flow(), one.is_flow(), two.is_flow()], [false, true, true]);
        assert_ne!(one.contact, two.contact);
        assert!(one.check().is_ok());
    }
}
