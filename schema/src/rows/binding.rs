use std::net::SocketAddr;

use serde::{Deserialize, Serialize};

use super::{InvalidRow, LineId, check_text, ensure};

/// What a line's phone registered: address-of-record to contact (RFC 3261 §10). Line and contact are its key.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Binding {
    /// The line.
    pub line: LineId,
    /// The contact URI.
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
