//! One dialog.

use crate::dialog::{DialogError, DialogId};
use crate::flow::Flow;
use crate::wire::header::{CSeq, Contact, Header, MaxForwards, NameAddr, RecordRoute, Via};
use crate::wire::{Builder, HeaderError, Message, Method, Name, Uri};

/// One dialog, seen from our end.
#[derive(Debug, Clone)]
pub struct Dialog {
    id: DialogId,
    role: Role,
    confirmed: bool,
    local: NameAddr,
    remote: NameAddr,
    local_cseq: Option<u32>,
    remote_cseq: Option<u32>,
    remote_target: Uri,
    routes: Vec<NameAddr>,
    flow: Flow,
}

/// Which end of the request that made the dialog we were.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// We sent it.
    Client,
    /// We received it.
    Server,
}

impl Dialog {
    /// The dialog that a response to our request makes: early for a 1xx with a To tag, confirmed for a 2xx (RFC 3261 §12.1.2).
    ///
    /// `flow` is where the response came in. A peer that forgets its Contact is reached at the request's own URI; one
    /// that forgets its tag in a 2xx (RFC 2543) gets an empty one.
    pub fn uac(request: &Message, response: &Message, flow: Flow) -> Result<Dialog, DialogError> {
        let status = response.status().ok_or(DialogError::NoDialog)?;
        let remote = response.to()?.0;
        let confirmed = status.is_success();
        if !confirmed && (!status.is_provisional() || remote.tag().is_none()) {
            return Err(DialogError::NoDialog);
        }
        let local = request.from()?.0;
        let remote_target = match contact(response)? {
            Some(uri) => uri,
            None => uri_of(request)?,
        };
        Ok(Dialog {
            id: DialogId {
                call_id: request.call_id()?.to_owned(),
                local_tag: local.tag().unwrap_or_default().to_owned(),
                remote_tag: remote.tag().unwrap_or_default().to_owned(),
            },
            role: Role::Client,
            confirmed,
            local,
            remote,
            local_cseq: Some(request.cseq()?.number),
            remote_cseq: None,
            remote_target,
            routes: client_routes(response)?,
            flow,
        })
    }

    /// The dialog that our response to a request makes, with `local_tag` as our To tag (RFC 3261 §12.1.1). It is early until
    /// [`confirm`](Dialog::confirm).
    ///
    /// `flow` is where the request came in. A request without Contact makes no dialog.
    pub fn uas(request: &Message, local_tag: &str, flow: Flow) -> Result<Dialog, DialogError> {
        if !request.is_request() {
            return Err(DialogError::NoDialog);
        }
        let local = request.to()?.0.with_tag(Some(local_tag));
        let remote = request.from()?.0;
        let remote_target = contact(request)?.ok_or(HeaderError::Missing { name: Name::Contact })?;
        Ok(Dialog {
            id: DialogId {
                call_id: request.call_id()?.to_owned(),
                local_tag: local_tag.to_owned(),
                remote_tag: remote.tag().unwrap_or_default().to_owned(),
            },
            role: Role::Server,
            confirmed: false,
            local,
            remote,
            local_cseq: None,
            remote_cseq: Some(request.cseq()?.number),
            remote_target,
            // As they stand (RFC 3261 §12.1.1).
            routes: record_routes(request)?,
            flow,
        })
    }

    /// Makes an early dialog a confirmed one. At the client, the route set and the target are those of the 2xx from now
    /// on (RFC 3261 §13.2.2.4); at the server, `response` is our own 2xx.
    pub fn confirm(&mut self, response: &Message) -> Result<(), DialogError> {
        if self.role == Role::Client && !self.confirmed {
            self.routes = client_routes(response)?;
            if let Some(uri) = contact(response)? {
                self.remote_target = uri;
            }
        }
        self.confirmed = true;
        Ok(())
    }

    /// Takes the peer's new Contact from a target refresh request or from the 2xx to one (RFC 3261 §12.2.1.2, §12.2.2).
    /// Nothing changes when there is none. The route set stays as it is.
    pub fn refresh_target(&mut self, message: &Message) -> Result<(), DialogError> {
        if let Some(uri) = contact(message)? {
            self.remote_target = uri;
        }
        Ok(())
    }

    /// Begins the next request in the dialog (RFC 3261 §12.2.1.1): Request-URI, Via, Route, Max-Forwards, From, To, Call-ID,
    /// CSeq and, when given, Contact are in place. For an ACK use [`ack`](Dialog::ack); a CANCEL is the transaction layer's.
    pub fn request(&mut self, method: &Method, via: Via, contact: Option<&NameAddr>) -> Builder {
        // RFC 3261 §12.2.1.1: an empty number may start anywhere below 2^31.
        let cseq = self.local_cseq.map_or(1, |last| last.saturating_add(1).min(MAX_CSEQ));
        self.local_cseq = Some(cseq);
        self.begin(method, via, cseq).header_if(Name::Contact, contact)
    }

    /// Begins the ACK for a 2xx to the INVITE with this CSeq number (RFC 3261 §13.2.2.4).
    pub fn ack(&self, via: Via, cseq: u32) -> Builder {
        self.begin(&Method::Ack, via, cseq)
    }

    /// Takes note of a request in the dialog: whether it is ours, and its CSeq order (RFC 3261 §12.2.2). An ACK has its INVITE's
    /// number, and a CANCEL its request's, so neither is held against the order.
    pub fn receive(&mut self, request: &Message) -> Result<(), DialogError> {
        if !self.owns(request) {
            return Err(DialogError::Foreign);
        }
        let received = request.cseq()?.number;
        if request.is(&Method::Ack) || request.is(&Method::Cancel) {
            return Ok(());
        }
        match self.remote_cseq {
            Some(seen) if received < seen => Err(DialogError::OutOfOrder { received, seen }),
            _ => {
                self.remote_cseq = Some(received);
                Ok(())
            }
        }
    }

    /// Whether a request that we received is sent in this dialog.
    pub fn owns(&self, request: &Message) -> bool {
        DialogId::of_request(request).is_some_and(|id| id == self.id)
    }

    /// Where requests go first: the topmost route, or the peer's target when there is none.
    pub fn next_hop(&self) -> &Uri {
        self.routes.first().map_or(&self.remote_target, |route| &route.uri)
    }

    /// The dialog's name.
    pub fn id(&self) -> &DialogId {
        &self.id
    }

    /// Which end of the first request we were.
    pub fn role(&self) -> Role {
        self.role
    }

    /// Whether it is confirmed; otherwise early.
    pub fn is_confirmed(&self) -> bool {
        self.confirmed
    }

    /// What stands in From of our requests, with our tag.
    pub fn local(&self) -> &NameAddr {
        &self.local
    }

    /// What stands in To of our requests, with the peer's tag.
    pub fn remote(&self) -> &NameAddr {
        &self.remote
    }

    /// The peer's Contact.
    pub fn remote_target(&self) -> &Uri {
        &self.remote_target
    }

    /// The route set, in the order in which our requests take it.
    pub fn routes(&self) -> &[NameAddr] {
        &self.routes
    }

    /// The number of our last request.
    pub fn local_cseq(&self) -> Option<u32> {
        self.local_cseq
    }

    /// The highest number of the peer's requests.
    pub fn remote_cseq(&self) -> Option<u32> {
        self.remote_cseq
    }

    /// Where the message that made the dialog came in, or what was set since.
    pub fn flow(&self) -> Flow {
        self.flow
    }

    /// Notes another way to the peer.
    pub fn set_flow(&mut self, flow: Flow) {
        self.flow = flow;
    }

    fn begin(&self, method: &Method, via: Via, cseq: u32) -> Builder {
        let (uri, routes) = self.request_line();
        let mut builder = Builder::request(method, uri).header(Name::Via, via);
        for route in routes {
            builder = builder.header(Name::Route, route);
        }
        builder
            .header(Name::MaxForwards, MaxForwards(70))
            .header(Name::From, &self.local)
            .header(Name::To, &self.remote)
            .header(Name::CallId, &self.id.call_id)
            .header(Name::CSeq, CSeq { number: cseq, method: method.clone() })
    }

    /// The Request-URI and the Route values: loose and strict routing (RFC 3261 §12.2.1.1).
    fn request_line(&self) -> (Uri, Vec<NameAddr>) {
        match self.routes.split_first() {
            Some((first, rest)) if !is_loose(&first.uri) => {
                let mut routes = rest.to_vec();
                routes.push(NameAddr::new(self.remote_target.clone()));
                (first.uri.for_request_line(), routes)
            }
            _ => (self.remote_target.for_request_line(), self.routes.clone()),
        }
    }
}

/// The largest CSeq number (RFC 3261 §8.1.1.5).
const MAX_CSEQ: u32 = i32::MAX as u32;

fn is_loose(uri: &Uri) -> bool {
    uri.sip().is_some_and(|uri| uri.is_loose())
}

fn contact(message: &Message) -> Result<Option<Uri>, DialogError> {
    Ok(message.header::<Contact>()?.and_then(|contact| contact.address().map(|address| address.uri.clone())))
}

fn uri_of(request: &Message) -> Result<Uri, DialogError> {
    let name = Contact::NAME;
    request.request_uri().map_err(|source| HeaderError::Uri { name, source }.into())
}

fn record_routes(message: &Message) -> Result<Vec<NameAddr>, DialogError> {
    message.all::<RecordRoute>().map(|route| Ok(route?.0)).collect()
}

/// In reverse: the last proxy of the request's way wrote the topmost one (RFC 3261 §12.1.2).
fn client_routes(response: &Message) -> Result<Vec<NameAddr>, DialogError> {
    let mut routes = record_routes(response)?;
    routes.reverse();
    Ok(routes)
}

#[cfg(test)]
pub(super) mod tests {
    use bytes::Bytes;

    use super::*;
    use crate::flow::Transport;
    use crate::wire::Limits;

    pub(in crate::dialog) const INVITE: &str = "INVITE sip:101@s042.example.net SIP/2.0\r\n\
        Via: SIP/2.0/UDP [2001:db8::1];branch=z9hG4bK1\r\nRecord-Route: <sip:p1.example;lr>, <sip:p2.example;lr>\r\n\
        From: \"Room 102\" <sip:102@s042.example.net>;tag=f\r\nTo: <sip:101@s042.example.net>\r\n\
        Call-ID: c\r\nCSeq: 7 INVITE\r\nContact: <sip:102@[2001:db8::9]:5070>\r\n\r\n";

    const OK: &str = "SIP/2.0 200 OK\r\nVia: SIP/2.0/UDP [2001:db8::1];branch=z9hG4bK1\r\n\
        Record-Route: <sip:p1.example;lr>\r\nRecord-Route: <sip:p2.example;lr>\r\n\
        From: \"Room 102\" <sip:102@s042.example.net>;tag=f\r\nTo: <sip:101@s042.example.net>;tag=t\r\n\
        Call-ID: c\r\nCSeq: 7 INVITE\r\nContact: <sip:101@[2001:db8::8]>\r\n\r\n";

    pub(in crate::dialog) fn parse(text: &str) -> Message {
        Message::parse(Bytes::copy_from_slice(text.as_bytes()), &Limits::default()).unwrap()
    }

    pub(in crate::dialog) fn flow() -> Flow {
        Flow {
            transport: Transport::Udp,
            local: "[2001:db8::1]:5060".parse().unwrap(),
            remote: "[2001:db8::2]:5060".parse().unwrap(),
            connection: None,
        }
    }

    fn via() -> Via {
        Via::new(Transport::Udp, flow().local, "z9hG4bKnew")
    }

    fn uac(invite: &str, response: &str) -> Dialog {
        Dialog::uac(&parse(invite), &parse(response), flow()).unwrap()
    }

    fn uas(invite: &str) -> Dialog {
        Dialog::uas(&parse(invite), "t", flow()).unwrap()
    }

    fn routes(dialog: &Dialog) -> Vec<String> {
        dialog.routes().iter().map(ToString::to_string).collect()
    }

    /// A request of the caller's in the callee's dialog.
    fn from_caller(method: &str, cseq: u32) -> Message {
        parse(&format!(
            "{method} sip:101@[2001:db8::8] SIP/2.0\r\nFrom: <sip:102@s042.example.net>;tag=f\r\n\
             To: <sip:101@s042.example.net>;tag=t\r\nCall-ID: c\r\nCSeq: {cseq} {method}\r\n\
             Contact: <sip:102@[2001:db8::99]>\r\n\r\n"
        ))
    }

    #[test]
    fn rfc_3261_12_1_1_at_the_server() {
        let mut dialog = uas(INVITE);
        assert_eq!(dialog.id().to_string(), "c;local=t;remote=f");
        assert_eq!(routes(&dialog), ["<sip:p1.example;lr>", "<sip:p2.example;lr>"], "as they stand");
        assert_eq!(dialog.remote_target().to_string(), "sip:102@[2001:db8::9]:5070");
        assert_eq!((dialog.local_cseq(), dialog.remote_cseq()), (None, Some(7)));
        assert!(!dialog.is_confirmed());
        dialog.confirm(&parse(OK)).unwrap();
        assert!(dialog.is_confirmed());
        assert_eq!(
            dialog.remote_target().to_string(),
            "sip:102@[2001:db8::9]:5070",
            "our own Contact is not the peer's"
        );
    }

    #[test]
    fn rfc_3261_12_1_2_at_the_client() {
        let dialog = uac(INVITE, OK);
        assert_eq!(dialog.id().to_string(), "c;local=f;remote=t");
        assert_eq!(routes(&dialog), ["<sip:p2.example;lr>", "<sip:p1.example;lr>"], "in reverse");
        assert_eq!(dialog.remote_target().to_string(), "sip:101@[2001:db8::8]");
        assert_eq!((dialog.local_cseq(), dialog.remote_cseq()), (Some(7), None));
        assert!(dialog.is_confirmed());
        assert_eq!(dialog.next_hop().to_string(), "sip:p2.example;lr");
    }

    /// RFC 3261 §13.2.2.4: the 2xx's route set counts.
    #[test]
    fn the_2xx_replaces_what_the_early_dialog_had() {
        let early =
            OK.replace("200 OK", "183 Session Progress").replace("p1", "early1").replace("::8", "::7");
        let mut dialog = uac(INVITE, &early);
        assert!(!dialog.is_confirmed());
        dialog.confirm(&parse(OK)).unwrap();
        assert_eq!(routes(&dialog), ["<sip:p2.example;lr>", "<sip:p1.example;lr>"]);
        assert_eq!(dialog.remote_target().to_string(), "sip:101@[2001:db8::8]");
        dialog.confirm(&parse(&OK.replace("p1", "p9"))).unwrap();
        assert_eq!(routes(&dialog).len(), 2, "a repeated 2xx changes nothing");
        assert_eq!(routes(&dialog)[1], "<sip:p1.example;lr>");
    }

    #[test]
    fn rfc_3261_12_2_1_1_a_request_through_loose_routers() {
        let mut dialog = uac(INVITE, OK);
        let contact = NameAddr::new("sip:102@[2001:db8::9]:5070".parse::<Uri>().unwrap());
        let bye = dialog.request(&Method::Bye, via(), Some(&contact)).finish();
        assert_eq!(
            std::str::from_utf8(bye.bytes()).unwrap(),
            "BYE sip:101@[2001:db8::8] SIP/2.0\r\nVia: SIP/2.0/UDP [2001:db8::1]:5060;branch=z9hG4bKnew;rport\r\n\
             Route: <sip:p2.example;lr>\r\nRoute: <sip:p1.example;lr>\r\nMax-Forwards: 70\r\n\
             From: \"Room 102\" <sip:102@s042.example.net>;tag=f\r\nTo: <sip:101@s042.example.net>;tag=t\r\n\
             Call-ID: c\r\nCSeq: 8 BYE\r\nContact: <sip:102@[2001:db8::9]:5070>\r\nContent-Length: 0\r\n\r\n"
        );
        assert_eq!(dialog.request(&Method::Info, via(), None).finish().cseq().unwrap().number, 9);
    }

    #[test]
    fn rfc_3261_12_2_1_1_a_request_through_a_strict_router() {
        let strict = OK.replace("<sip:p2.example;lr>", "<sip:p2.example;method=INVITE?Subject=x>");
        let mut dialog = uac(INVITE, &strict);
        let bye = dialog.request(&Method::Bye, via(), None).finish();
        assert_eq!(bye.request_uri_text(), "sip:p2.example", "without what no Request-URI may hold");
        let values: Vec<_> =
            bye.raws(Name::Route).map(|raw| String::from_utf8_lossy(raw).into_owned()).collect();
        assert_eq!(values, ["<sip:p1.example;lr>", "<sip:101@[2001:db8::8]>"]);
    }

    #[test]
    fn without_routes_requests_go_to_the_target() {
        let direct = OK.replace("Record-Route", "X-Route");
        let mut dialog = uac(INVITE, &direct);
        assert_eq!(dialog.next_hop().to_string(), "sip:101@[2001:db8::8]");
        assert!(!dialog.request(&Method::Bye, via(), None).finish().has(Name::Route));
    }

    #[test]
    fn rfc_3261_12_2_1_1_the_servers_first_request_has_a_number_of_its_own() {
        let mut dialog = uas(INVITE);
        let bye = dialog.request(&Method::Bye, via(), None).finish();
        assert_eq!(bye.cseq().unwrap().number, 1);
        assert_eq!((bye.from_tag().as_deref(), bye.to_tag().as_deref()), (Some("t"), Some("f")));
    }

    #[test]
    fn rfc_3261_13_2_2_4_an_ack_has_its_invites_number() {
        let mut dialog = uac(INVITE, OK);
        let _ = dialog.request(&Method::Info, via(), None);
        let ack = dialog.ack(via(), 7).finish();
        assert_eq!(ack.cseq().unwrap(), CSeq { number: 7, method: Method::Ack });
        assert_eq!(dialog.local_cseq(), Some(8));
    }

    #[test]
    fn rfc_3261_12_2_2_order() {
        let mut dialog = uas(INVITE);
        assert_eq!(dialog.receive(&from_caller("INFO", 12)), Ok(()));
        let error = dialog.receive(&from_caller("INFO", 11)).unwrap_err();
        assert_eq!(error, DialogError::OutOfOrder { received: 11, seen: 12 });
        assert_eq!(error.status().code(), 500);
        assert_eq!(dialog.receive(&from_caller("ACK", 7)), Ok(()), "an ACK has its INVITE's number");
        assert_eq!(dialog.remote_cseq(), Some(12));
        let foreign = from_caller("INFO", 13).edit().set(Name::CallId, "other").finish();
        assert_eq!(dialog.receive(&foreign).unwrap_err().status().code(), 481);
    }

    #[test]
    fn rfc_3261_12_2_2_target_refresh() {
        let mut dialog = uas(INVITE);
        dialog.refresh_target(&from_caller("INVITE", 8)).unwrap();
        assert_eq!(dialog.remote_target().to_string(), "sip:102@[2001:db8::99]");
        dialog.refresh_target(&parse(&INVITE.replace("Contact", "X-Contact"))).unwrap();
        assert_eq!(dialog.remote_target().to_string(), "sip:102@[2001:db8::99]");
        assert_eq!(routes(&dialog).len(), 2);
    }

    #[test]
    fn peers_that_forget_things() {
        let dialog = uac(INVITE, &OK.replace("Contact", "X-Contact").replace(";tag=t", ""));
        assert_eq!(dialog.remote_target().to_string(), "sip:101@s042.example.net");
        assert_eq!(dialog.id().remote_tag, "");
        assert_eq!(uas(&INVITE.replace(";tag=f", "")).id().remote_tag, "");
        let error = Dialog::uas(&parse(&INVITE.replace("Contact", "X-Contact")), "t", flow()).unwrap_err();
        assert_eq!(error, HeaderError::Missing { name: Name::Contact }.into());
    }

    #[test]
    fn both_ends_name_the_dialog_alike() {
        let (ours, theirs) = (uac(INVITE, OK), uas(INVITE));
        let mut caller = ours.clone();
        let bye = caller.request(&Method::Bye, via(), None).finish();
        assert!(theirs.owns(&bye));
        assert!(!ours.owns(&bye));
        assert_eq!(DialogId::of_response(&parse(OK)).as_ref(), Some(ours.id()));
        assert_eq!(DialogId::of_request(&parse(INVITE)), None);
    }
}
