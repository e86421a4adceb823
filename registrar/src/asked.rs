//! What a REGISTER asks for, read and checked before anything is looked up.

use schema::{Binding, LineId};
use sip_core::flow::Flow;
use sip_core::wire::header::{Contact, Expires, Path};
use sip_core::wire::{Message, Name};

/// What a REGISTER asks for.
#[derive(Debug)]
pub(crate) struct Asked {
    line: LineId,
    call_id: String,
    cseq: u32,
    /// `Contact: *` with Expires 0.
    pub(crate) remove_all: bool,
    pub(crate) contacts: Vec<AskedContact>,
    pub(crate) path: Vec<String>,
    user_agent: Option<String>,
    flow: Flow,
    node: String,
}

/// One contact of a REGISTER.
#[derive(Debug)]
pub(crate) struct AskedContact {
    pub(crate) uri: String,
    /// Seconds; `None` where neither the contact nor the request names any.
    pub(crate) expires: Option<u32>,
    q: u16,
    instance: Option<String>,
    reg_id: Option<u32>,
}

impl Asked {
    pub(crate) fn read(request: &Message, line: LineId, flow: &Flow, node: &str) -> Result<Asked, Malformed> {
        let call_id = request.call_id().map_err(|_| Malformed("Call-ID is missing"))?;
        let cseq = request.cseq().map_err(|_| Malformed("CSeq is malformed"))?.number;
        // RFC 3261 §20.19: a malformed Expires counts as the default.
        let expires = request.header::<Expires>().ok().flatten().map(|expires| expires.0);
        let contacts = request
            .all::<Contact>()
            .collect::<Result<Vec<_>, _>>()
            .map_err(|_| Malformed("Contact is malformed"))?;
        if contacts.len() > MAX_CONTACTS {
            return Err(Malformed("Too many contacts in one REGISTER"));
        }
        let remove_all = contacts.contains(&Contact::Star);
        if remove_all && (contacts.len() > 1 || expires != Some(0)) {
            return Err(Malformed("Contact * stands alone and takes Expires 0"));
        }
        let addresses = contacts.iter().filter_map(|contact| Some((contact, contact.address()?)));
        let contacts = addresses
            .map(|(contact, address)| AskedContact {
                uri: address.uri.to_string(),
                expires: contact.expires().or(expires),
                q: contact.q(),
                instance: address.params.value("+sip.instance").map(str::to_owned),
                reg_id: address.params.value("reg-id").and_then(|digits| digits.parse().ok()),
            })
            .collect();
        let path = request
            .all::<Path>()
            .map(|path| path.map(|path| path.to_string()))
            .collect::<Result<Vec<_>, _>>()
            .map_err(|_| Malformed("Path is malformed"))?;
        // A tab is legal there; the store takes no control characters.
        let user_agent = request
            .text(Name::UserAgent)
            .map(|text| text.chars().filter(|c| !c.is_control()).take(MAX_USER_AGENT).collect());
        Ok(Asked {
            line,
            call_id: call_id.to_owned(),
            cseq,
            remove_all,
            contacts,
            path,
            user_agent,
            flow: *flow,
            node: node.to_owned(),
        })
    }

    /// Whether a binding was changed by a later REGISTER of the same Call-ID (RFC 3261 §10.3, steps 6 and 7).
    pub(crate) fn is_outdated(&self, binding: &Binding) -> bool {
        binding.call_id == self.call_id && binding.cseq >= self.cseq
    }

    /// The binding that a contact becomes.
    pub(crate) fn binding(&self, contact: &AskedContact, expires_at: i64) -> Binding {
        Binding {
            line: self.line,
            contact: contact.uri.clone(),
            call_id: self.call_id.clone(),
            cseq: self.cseq,
            q: contact.q,
            expires_at,
            stored_until: expires_at,
            path: self.path.clone(),
            received: flow_text(&self.flow, &self.node),
            user_agent: self.user_agent.clone(),
            instance: contact.instance.clone(),
            reg_id: contact.reg_id,
            source: Some(self.flow.remote),
        }
    }
}

/// A flow as a binding stores it: transport, local and remote address, and the node whose flow it is; and the stream's name, where no
/// other stream may be used instead.
pub(crate) fn flow_text(flow: &Flow, node: &str) -> String {
    let text = format!("{} {} {} {node}", flow.transport, flow.local, flow.remote);
    match flow.connection.filter(|_| flow.transport.is_websocket()) {
        Some(connection) => format!("{text} {:x}", connection.0),
        None => text,
    }
}

/// The REGISTER makes no sense, in words for the reason phrase.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Malformed(pub(crate) &'static str);

/// Contacts in one REGISTER.
const MAX_CONTACTS: usize = 32;
/// Characters of a User-Agent that are kept.
const MAX_USER_AGENT: usize = 128;
