//! A dialog's state (RFC 3261 §12) and the requests made of it.

use std::net::SocketAddr;

use crate::{
    message::Message,
    uri::{name_addr, socket_addr, uri_param},
};

/// One side's view of a dialog, early or confirmed.
#[derive(Debug, Clone)]
pub(crate) struct Dialog {
    pub(crate) call_id: String,
    /// From of our requests without the tag: display name and URI.
    pub(crate) local: String,
    pub(crate) local_tag: String,
    /// To of our requests without the tag.
    pub(crate) remote: String,
    pub(crate) remote_tag: Option<String>,
    /// Remote target: the URI of their Contact.
    pub(crate) target: String,
    /// In the order in which Route is written.
    pub(crate) route_set: Vec<String>,
    pub(crate) local_cseq: u32,
    pub(crate) remote_cseq: Option<u32>,
}

impl Dialog {
    /// The callee's side, from the INVITE (§12.1.1).
    pub(crate) fn from_invite(invite: &Message, local_tag: String) -> Option<Self> {
        let from = invite.header("From")?;
        Some(Self {
            call_id: invite.header("Call-ID")?.to_owned(),
            local: without_tag(invite.header("To")?),
            local_tag,
            remote: without_tag(from),
            remote_tag: Some(invite.tag("From").unwrap_or_default().to_owned()),
            target: contact_uri(invite)?,
            route_set: invite.values("Record-Route"),
            local_cseq: 0,
            remote_cseq: Some(invite.cseq()?.0),
        })
    }

    /// Takes remote tag, target and route set from a response that makes a dialog (§12.1.2); 2xx recomputes them (§13.2.2.4).
    pub(crate) fn establish(&mut self, response: &Message) {
        if let Some(tag) = response.tag("To") {
            self.remote_tag = Some(tag.to_owned());
        }
        self.refresh_target(response);
        self.route_set = response.values("Record-Route");
        self.route_set.reverse();
    }

    /// Target refresh (§12.2.1.2).
    pub(crate) fn refresh_target(&mut self, message: &Message) {
        if let Some(target) = contact_uri(message) {
            self.target = target;
        }
    }

    /// A request within the dialog without Via; ACK keeps the CSeq of its INVITE, others count on (§12.2.1.1).
    pub(crate) fn request(&mut self, method: &str, cseq: Option<u32>) -> Message {
        let cseq = cseq.unwrap_or_else(|| {
            self.local_cseq = self.local_cseq.wrapping_add(1);
            self.local_cseq
        });
        let strict = self.route_set.first().map(|first| name_addr(first).0.to_owned());
        let strict = strict.filter(|first| uri_param(first, "lr").is_none());
        let mut request = match &strict {
            None => Message::request(method, &self.target),
            Some(first) => Message::request(method, first),
        };
        let routes = self.route_set.iter().skip(usize::from(strict.is_some()));
        for route in routes {
            request.push("Route", route.clone());
        }
        if strict.is_some() {
            request.push("Route", format!("<{}>", self.target));
        }
        request.push("Max-Forwards", "70");
        request.push("From", format!("{};tag={}", self.local, self.local_tag));
        request.push(
            "To",
            match self.remote_tag.as_deref() {
                Some(tag) if !tag.is_empty() => format!("{};tag={tag}", self.remote),
                _ => self.remote.clone(),
            },
        );
        request.push("Call-ID", self.call_id.clone());
        request.push("CSeq", format!("{cseq} {method}"));
        request
    }

    /// Where requests go: the first route, else the target, else the next hop when that names a host we would have to look up.
    pub(crate) fn next_hop(&self, otherwise: SocketAddr) -> SocketAddr {
        let first = self.route_set.first().map_or(self.target.as_str(), |first| name_addr(first).0);
        socket_addr(first).filter(|addr| addr.is_ipv6() == otherwise.is_ipv6()).unwrap_or(otherwise)
    }
}

/// A From or To value without its tag, always with brackets.
pub(crate) fn without_tag(value: &str) -> String {
    let (uri, _) = name_addr(value);
    let display = value.split_once('<').map_or("", |(display, _)| display.trim());
    // A display name in quotes may itself hold '<'; then the name is left out rather than torn.
    let display = if display.matches('"').count() == 1 { "" } else { display };
    if display.is_empty() { format!("<{uri}>") } else { format!("{display} <{uri}>") }
}

fn contact_uri(message: &Message) -> Option<String> {
    let contact = message.values("Contact").into_iter().next()?;
    Some(name_addr(&contact).0.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    const RESPONSE: &[u8] = b"SIP/2.0 200 OK\r\nTo: <sip:b@x>;tag=9\r\nContact: <sip:b@[::1]:7>\r\n\
        Record-Route: <sip:[2001:db8::2];lr>, <sip:[2001:db8::1]:5070;lr>\r\n\r\n";

    fn dialog() -> Dialog {
        Dialog {
            call_id: "c".to_owned(),
            local: "<sip:a@x>".to_owned(),
            local_tag: "1".to_owned(),
            remote: "<sip:b@x>".to_owned(),
            remote_tag: None,
            target: "sip:b@x".to_owned(),
            route_set: Vec::new(),
            local_cseq: 4,
            remote_cseq: None,
        }
    }

    #[test]
    fn the_caller_reverses_record_route_and_routes_loosely() {
        let mut dialog = dialog();
        dialog.establish(&Message::parse(RESPONSE).expect("well formed"));
        let bye = dialog.request("BYE", None);
        assert_eq!(bye.request_uri(), Some("sip:b@[::1]:7"));
        let routes: Vec<_> = bye.headers("Route").collect();
        assert_eq!(routes, ["<sip:[2001:db8::1]:5070;lr>", "<sip:[2001:db8::2];lr>"]);
        assert_eq!(bye.header("To"), Some("<sip:b@x>;tag=9"));
        assert_eq!(bye.cseq(), Some((5, "BYE")));
        let otherwise = "[::1]:9".parse().expect("an address");
        assert_eq!(dialog.next_hop(otherwise).to_string(), "[2001:db8::1]:5070");
    }

    #[test]
    fn a_strict_router_gets_its_own_uri() {
        let mut dialog = dialog();
        dialog.route_set = vec!["<sip:[::2]>".to_owned(), "<sip:[::3];lr>".to_owned()];
        let bye = dialog.request("BYE", None);
        assert_eq!(bye.request_uri(), Some("sip:[::2]"));
        let routes: Vec<_> = bye.headers("Route").collect();
        assert_eq!(routes, ["<sip:[::3];lr>", "<sip:b@x>"]);
    }

    #[test]
    fn tags_are_cut() {
        assert_eq!(without_tag("\"A\" <sip:a@b;x=1>;tag=7"), "\"A\" <sip:a@b;x=1>");
        assert_eq!(without_tag("sip:a@b;tag=7"), "<sip:a@b>");
        assert_eq!(without_tag("\"a<b\" <sip:a@b>;tag=7"), "<sip:a@b>");
    }
}
