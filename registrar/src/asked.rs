//! What a REGISTER asks for, read and checked before anything is looked up.

use schema::{Binding, LineId};
use sip_core::flow::Flow;
use sip_core::wire::header::{Contact, Expires, NameAddr, Path, Supported, TokenList, Via};
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
    pub(crate) instance: Option<String>,
    /// The flow's number, where the contact is one of the phone's flows (RFC 5626 §6).
    pub(crate) flow: Option<u32>,
}

impl AskedContact {
    /// The name under which it is stored.
    pub(crate) fn key(&self) -> String {
        Binding::contact_of(&self.uri, self.flow)
    }

    /// Whether a binding is the one that this contact replaces: that of the same flow (RFC 5626 §6), or of the same URI.
    pub(crate) fn replaces(&self, binding: &Binding) -> bool {
        let same_flow = self.flow.is_some() && binding.is_flow() && binding.reg_id == self.flow;
        same_flow && binding.instance == self.instance || binding.contact == self.key()
    }
}

impl Asked {
    pub(crate) fn read(request: &Message, line: LineId, flow: &Flow, node: &str) -> Result<Asked, Malformed> {
        let call_id = request.call_id().map_err(|_| Malformed::Reason("Call-ID is missing"))?;
        let cseq = request.cseq().map_err(|_| Malformed::Reason("CSeq is malformed"))?.number;
        // RFC 3261 §20.19: a malformed Expires counts as the default.
        let expires = request.header::<Expires>().ok().flatten().map(|expires| expires.0);
        let contacts = request
            .all::<Contact>()
            .collect::<Result<Vec<_>, _>>()
            .map_err(|_| Malformed::Reason("Contact is malformed"))?;
        if contacts.len() > MAX_CONTACTS {
            return Err(Malformed::Reason("Too many contacts in one REGISTER"));
        }
        let remove_all = contacts.contains(&Contact::Star);
        if remove_all && (contacts.len() > 1 || expires != Some(0)) {
            return Err(Malformed::Reason("Contact * stands alone and takes Expires 0"));
        }
        let path = request
            .all::<Path>()
            .collect::<Result<Vec<_>, _>>()
            .map_err(|_| Malformed::Reason("Path is malformed"))?;
        let outbound = supports(request, "outbound").then(|| FirstHop::of(request, &path));
        let addresses = contacts.iter().filter_map(|contact| Some((contact, contact.address()?)));
        let contacts = addresses
            .map(|(contact, address)| {
                let instance = address.params.value("+sip.instance").map(str::to_owned);
                Ok(AskedContact {
                    uri: address.uri.to_string(),
                    expires: contact.expires().or(expires),
                    q: contact.q(),
                    flow: flow_number(address, instance.as_deref(), outbound)?,
                    instance,
                })
            })
            .collect::<Result<Vec<_>, Malformed>>()?;
        if contacts.iter().filter(|contact| contact.flow.is_some()).count() > 1 {
            return Err(Malformed::Reason("One flow registers one contact"));
        }
        let path = path.iter().map(ToString::to_string).collect();
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
            contact: contact.key(),
            call_id: self.call_id.clone(),
            cseq: self.cseq,
            q: contact.q,
            expires_at,
            stored_until: expires_at,
            path: self.path.clone(),
            received: flow_text(&self.flow, &self.node, contact.flow.is_some() && self.path.is_empty()),
            user_agent: self.user_agent.clone(),
            instance: contact.instance.clone(),
            reg_id: contact.flow,
            source: Some(self.flow.remote),
        }
    }
}

/// Whether a request names an extension in Supported.
pub(crate) fn supports(request: &Message, option: &str) -> bool {
    request.all::<Supported>().flatten().any(|tag| tag.is(option))
}

/// What the first hop of a REGISTER says about flows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum FirstHop {
    /// We are it, or it keeps the flow.
    Keeps,
    /// It is somebody who knows nothing of flows.
    Lacks,
}

impl FirstHop {
    /// RFC 5626 §6: the proxy next to the phone marks its Path with `ob`; without a Path, and with no hop but the phone's, that is us.
    fn of(request: &Message, path: &[Path]) -> FirstHop {
        match path.last() {
            Some(first) if first.uri.sip().is_some_and(|uri| uri.params.has("ob")) => FirstHop::Keeps,
            None if request.all::<Via>().nth(1).is_none() => FirstHop::Keeps,
            _ => FirstHop::Lacks,
        }
    }
}

/// The number of a contact's flow, when it is registered as one: with an instance, a reg-id and the support for both.
fn flow_number(
    address: &NameAddr,
    instance: Option<&str>,
    outbound: Option<FirstHop>,
) -> Result<Option<u32>, Malformed> {
    let (Some(digits), Some(_), Some(first)) = (address.params.value("reg-id"), instance, outbound) else {
        return Ok(None);
    };
    let number = digits.parse().ok().filter(|number| (1..=i32::MAX as u32).contains(number));
    let number = number.ok_or(Malformed::Reason("reg-id is not a number from 1 to 2147483647"))?;
    match first {
        FirstHop::Keeps => Ok(Some(number)),
        FirstHop::Lacks => Err(Malformed::LacksOutbound),
    }
}

/// A flow as a binding stores it: transport, local and remote address, and the node whose flow it is; and the stream's name, where no
/// other stream may be used instead.
pub(crate) fn flow_text(flow: &Flow, node: &str, only: bool) -> String {
    let text = format!("{} {} {} {node}", flow.transport, flow.local, flow.remote);
    match flow.connection.filter(|_| only || flow.transport.is_websocket()) {
        Some(connection) => format!("{text} {:x}", connection.0),
        None => text,
    }
}

/// Why a REGISTER makes no sense.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Malformed {
    /// In words for the reason phrase of a 400.
    Reason(&'static str),
    /// The proxy next to the phone keeps no flows (RFC 5626 §6).
    LacksOutbound,
}

/// Contacts in one REGISTER.
const MAX_CONTACTS: usize = 32;
/// Characters of a User-Agent that are kept.
const MAX_USER_AGENT: usize = 128;
