//! What identifies a transaction (RFC 3261 §17.1.3, §17.2.3).

use crate::ids::BRANCH_COOKIE;
use crate::wire::header::{CSeq, Via};
use crate::wire::{Message, Method};

/// At a client: our own branch and the CSeq's method, since a CANCEL shares the branch of what it cancels (§17.1.3).
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct ClientKey {
    branch: Box<str>,
    method: Method,
}

impl ClientKey {
    /// `None` for a Via without a branch, which cannot be ours.
    pub(super) fn new(via: &Via, method: &Method) -> Option<ClientKey> {
        Some(ClientKey { branch: via.branch()?.into(), method: method.clone() })
    }
}

/// At a server (§17.2.3).
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) enum ServerKey {
    /// The branch has the cookie: branch, sent-by and method identify.
    Branch { branch: Box<str>, sent_by: Box<str>, method: Method },
    /// A client of RFC 2543. The To tag is compared apart, since an ACK has one that its INVITE had not.
    Legacy { uri: Box<str>, from_tag: Box<str>, call_id: Box<str>, cseq: u32, via: Box<str>, method: Method },
}

impl ServerKey {
    /// The key of the request itself, or of the transaction that it would match if its method were `method`: INVITE for
    /// an ACK or a CANCEL.
    pub(super) fn new(request: &Message, via: &Via, cseq: &CSeq, method: Method) -> ServerKey {
        match via.branch().filter(|branch| has_cookie(branch)) {
            Some(branch) => ServerKey::Branch {
                branch: branch.into(),
                sent_by: via.sent_by.to_string().to_ascii_lowercase().into(),
                method,
            },
            None => ServerKey::Legacy {
                uri: request.request_uri_text().into(),
                from_tag: request.from_tag().unwrap_or_default().into(),
                call_id: request.call_id().unwrap_or_default().into(),
                cseq: cseq.number,
                via: via.to_string().into(),
                method,
            },
        }
    }

    /// Whether the To tag takes part in the comparison.
    pub(super) fn is_legacy(&self) -> bool {
        matches!(self, ServerKey::Legacy { .. })
    }
}

/// What two copies of one request have in common when they came by two paths (RFC 3261 §8.2.2.2): From tag, Call-ID and CSeq;
/// and the Request-URI, because a request that was retargeted in between is meant for somebody else.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct MergeKey {
    from_tag: Box<str>,
    call_id: Box<str>,
    cseq: u32,
    method: Method,
    uri: Box<str>,
}

impl MergeKey {
    /// `None` for a request inside a dialog, or without a From tag.
    pub(super) fn new(request: &Message, cseq: &CSeq) -> Option<MergeKey> {
        if request.to_tag().is_some() {
            return None;
        }
        Some(MergeKey {
            from_tag: request.from_tag()?.into(),
            call_id: request.call_id().ok()?.into(),
            cseq: cseq.number,
            method: cseq.method.clone(),
            uri: request.request_uri_text().into(),
        })
    }
}

fn has_cookie(branch: &str) -> bool {
    branch.get(..BRANCH_COOKIE.len()).is_some_and(|start| start.eq_ignore_ascii_case(BRANCH_COOKIE))
        && branch.len() > BRANCH_COOKIE.len()
}
