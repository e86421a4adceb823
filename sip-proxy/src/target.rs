//! Where a request can go: from bindings or translators to groups that are tried one after the other.

use std::net::SocketAddr;
use std::sync::Arc;

use schema::Binding;
use sip_core::flow::{ConnectionId, Flow, Transport};
use sip_core::wire::header::NameAddr;
use sip_core::wire::{SipUri, Uri};

use crate::settings::Settings;

/// One place to try.
#[derive(Debug, Clone)]
pub(crate) struct Target {
    /// The Request-URI to write; `None` leaves the one that is there.
    pub(crate) uri: Option<String>,
    /// Route values to put before those that are there, topmost first.
    pub(crate) routes: Vec<String>,
    /// The next hop.
    pub(crate) flow: Flow,
    /// Whether it is a node of ours, which may see who calls even where the caller wants privacy (RFC 3325 §7).
    pub(crate) trusted: bool,
    /// The Max-Breadth of its branch (RFC 5393 §5.3.3); `None` writes none.
    pub(crate) breadth: Option<u32>,
}

/// The targets of a line: those of the best `q` together, then those of the next (RFC 3261 §16.6), at most `limit` in all and
/// `breadth` at a time (RFC 5393 §5.3.3: what would be too broad is tried later). Those that are tried together share it.
///
/// Bindings must come with the best `q` first. What cannot be reached without DNS is left out.
pub(crate) fn of_bindings(
    bindings: &[Arc<Binding>],
    incoming: &Flow,
    settings: &Settings,
    breadth: Option<u32>,
) -> Vec<Vec<Target>> {
    let most = breadth.unwrap_or(DEFAULT_BREADTH) as usize;
    let mut groups: Vec<(u16, Vec<Target>)> = Vec::new();
    let targets =
        bindings.iter().filter_map(|binding| Some((binding.q, of_binding(binding, incoming, settings)?)));
    for (q, target) in targets.take(settings.limits.max_branches) {
        match groups.last_mut() {
            Some((last, group)) if *last == q && group.len() < most => group.push(target),
            _ => groups.push((q, vec![target])),
        }
    }
    let mut groups: Vec<Vec<Target>> = groups.into_iter().map(|(_, group)| group).collect();
    for group in &mut groups {
        let together = group.len().max(1) as u32;
        // Nobody who asked for no bound and is not forked gets one.
        let share = breadth.or((together > 1).then_some(DEFAULT_BREADTH)).map(|breadth| breadth / together);
        group.iter_mut().for_each(|target| target.breadth = share);
    }
    groups
}

/// The translators one after the other, beginning at `first`, each with the number as Request-URI.
pub(crate) fn of_translators(
    number: &str,
    first: usize,
    incoming: &Flow,
    settings: &Settings,
) -> Vec<Vec<Target>> {
    let translators = &settings.translators;
    let order = (0..translators.len()).filter_map(|step| translators.get((first + step) % translators.len()));
    order
        .filter_map(|translator| {
            let flow = settings.outgoing(translator.transport, translator.addr, incoming)?;
            let mut uri = SipUri::of_address(translator.addr, translator.transport);
            uri.user = SipUri::new(Some(number), uri.host_port.clone()).user;
            let breadth = None;
            Some(vec![Target {
                uri: Some(uri.to_string()),
                routes: Vec::new(),
                flow,
                trusted: true,
                breadth,
            }])
        })
        .collect()
}

/// Where a request goes that has this URI as its next hop, without DNS. `None` when the host is a name or we have no
/// listener of that transport and address family.
pub(crate) fn next_hop(uri: &Uri, incoming: &Flow, settings: &Settings) -> Option<Flow> {
    let uri = uri.sip()?;
    let transport = uri.required_transport().unwrap_or(Transport::Udp);
    let maddr = uri.params.value("maddr").and_then(|host| host.trim_matches(['[', ']']).parse().ok());
    let remote = uri.socket_addr().map(|addr| SocketAddr::new(maddr.unwrap_or(addr.ip()), addr.port()))?;
    settings.outgoing(transport, remote, incoming)
}

fn of_binding(binding: &Binding, incoming: &Flow, settings: &Settings) -> Option<Target> {
    // A translator takes whatever we send for a call to the outside, to which the line may have no right.
    let named = |uri: &Uri| {
        next_hop(uri, incoming, settings).filter(|flow| !settings.is_translator_address(flow.remote))
    };
    let flow = match binding.path.first() {
        Some(path) => named(&NameAddr::parse(path).ok()?.uri)?,
        None => match learned(&binding.received, incoming, settings) {
            Some(flow) => flow,
            // Only where the phone itself is: a Contact may name any address.
            None => named(&binding.contact.parse().ok()?)
                .filter(|flow| binding.source.is_none_or(|source| source.ip() == flow.remote.ip()))?,
        },
    };
    let uri = Some(request_uri(&binding.contact));
    Some(Target { uri, routes: binding.path.clone(), flow, trusted: false, breadth: None })
}

/// What a Contact becomes in a request line (RFC 3261 §16.6, step 2).
fn request_uri(contact: &str) -> String {
    match contact.parse::<Uri>() {
        Ok(uri) if contact.contains(['?', ';']) => uri.for_request_line().to_string(),
        _ => contact.to_owned(),
    }
}

/// The flow as the registrar wrote it: transport, address of the node, address of the phone, and the node's name.
///
/// Another node's flow cannot be used: its address is not ours to send from or to put into Record-Route, and its streams are
/// not ours either. From here, the phone's address is reached from our own, and a phone on a stream by its Contact.
fn learned(received: &str, incoming: &Flow, settings: &Settings) -> Option<Flow> {
    let mut words = received.split(' ');
    let transport = words.next()?.parse().ok()?;
    let (local, remote) = (words.next()?.parse().ok()?, words.next()?.parse().ok()?);
    let is_own = words.next() == Some(&settings.node) && settings.listens_on(local);
    let connection = words.next().and_then(|digits| u64::from_str_radix(digits, 16).ok());
    let connection = connection.map(|number| ConnectionId(number).only());
    match (is_own, transport) {
        // Where no stream is named, the shell finds the one that the phone keeps open by its address.
        (true, _) => Some(Flow { transport, local, remote, connection }),
        (false, Transport::Udp) => settings.outgoing(transport, remote, incoming),
        (false, _) => None,
    }
}

/// RFC 5393 §5.3.2.
const DEFAULT_BREADTH: u32 = 60;

#[cfg(test)]
mod tests {
    use schema::LineId;

    use super::*;

    fn binding(contact: &str, q: u16) -> Arc<Binding> {
        Arc::new(Binding {
            line: LineId(1),
            contact: contact.to_owned(),
            call_id: "c".to_owned(),
            cseq: 1,
            q,
            expires_at: 100,
            stored_until: 100,
            path: Vec::new(),
            received: "UDP [2001:db8::1]:5060 [2001:db8::10]:6000 node1".to_owned(),
            user_agent: None,
            instance: None,
            reg_id: None,
            source: None,
        })
    }

    fn incoming() -> Flow {
        let (local, remote) = ("[2001:db8::1]:5060".parse().unwrap(), "[2001:db8::20]:5060".parse().unwrap());
        Flow { transport: Transport::Udp, local, remote, connection: None }
    }

    fn groups(bindings: &[Arc<Binding>], breadth: Option<u32>) -> Vec<Vec<String>> {
        let groups = of_bindings(bindings, &incoming(), &Settings::for_tests(), breadth);
        groups.iter().map(|group| group.iter().filter_map(|target| target.uri.clone()).collect()).collect()
    }

    /// RFC 3261 §16.6: what a Request-URI may not hold is taken out of a Contact.
    /// RFC 4475 §3.3.13: parameters of a Contact's URI are kept.
    /// RFC 4475 §3.3.14: headers of a Contact's URI add no header to a request.
    #[test]
    fn a_contact_becomes_a_request_uri() {
        for (contact, expected) in [
            ("sip:101@[::1]:5060", "sip:101@[::1]:5060"),
            (
                "sip:+19725552222@gw1.example.net;unknownparam",
                "sip:+19725552222@gw1.example.net;unknownparam",
            ),
            ("sip:user@example.com?Route=%3Csip:sip.example.com%3E", "sip:user@example.com"),
            ("sip:a@b;method=INVITE;x=y?a=b", "sip:a@b;x=y"),
        ] {
            assert_eq!(request_uri(contact), expected);
        }
    }

    #[test]
    fn equal_preference_rings_together() {
        let bindings =
            [binding("sip:a@[::1]", 1000), binding("sip:b@[::1]", 1000), binding("sip:c@[::1]", 500)];
        assert_eq!(groups(&bindings, None), [vec!["sip:a@[::1]", "sip:b@[::1]"], vec!["sip:c@[::1]"]]);
        assert_eq!(groups(&bindings, Some(1)).len(), 3);
        assert!(groups(&[], None).is_empty());
    }

    #[test]
    fn the_learned_flow_leads_unless_there_is_a_path() {
        let settings = Settings::for_tests();
        let target = of_binding(&binding("sip:a@192.0.2.1", 1000), &incoming(), &settings).unwrap();
        assert_eq!(target.flow.remote, "[2001:db8::10]:6000".parse().unwrap());
        // RFC 7118 §5: no other connection leads to a page.
        let received = "WS [2001:db8::1]:5060 [2001:db8::10]:6000 node1 ab".to_owned();
        let page = Binding { received, ..Binding::clone(&binding("sip:a@x.invalid;transport=ws", 1000)) };
        let flow = of_binding(&page, &incoming(), &settings).unwrap().flow;
        assert_eq!(flow.connection, Some(ConnectionId(0xab).only()));
        // Another node's flow, and one from before this node got another address.
        for received in [
            "UDP [2001:db8::2]:5060 [2001:db8::10]:6000 node2",
            "UDP [2001:db8::3]:5060 [2001:db8::10]:6000 node1",
        ] {
            let elsewhere = Binding {
                received: received.to_owned(),
                ..Binding::clone(&binding("sip:a@192.0.2.1", 1000))
            };
            let flow = of_binding(&elsewhere, &incoming(), &settings).unwrap().flow;
            assert_eq!((flow.local, flow.remote), (incoming().local, "[2001:db8::10]:6000".parse().unwrap()));
        }
        // A stream that another node holds.
        let received = "TCP [2001:db8::2]:5060 [2001:db8::10]:6000 node2".to_owned();
        let elsewhere =
            Binding { received, ..Binding::clone(&binding("sip:a@[2001:db8::10]:5062;transport=tcp", 1000)) };
        let flow = of_binding(&elsewhere, &incoming(), &settings).unwrap().flow;
        assert_eq!(flow.remote, "[2001:db8::10]:5062".parse().unwrap());
        let astray = Binding { source: Some("[2001:db8::11]:6000".parse().unwrap()), ..elsewhere };
        assert!(of_binding(&astray, &incoming(), &settings).is_none());
        let mut with_path = Binding::clone(&binding("sip:a@192.0.2.1", 1000));
        with_path.path = vec!["<sip:[2001:db8::99]:5080;lr>".to_owned()];
        let target = of_binding(&with_path, &incoming(), &settings).unwrap();
        assert_eq!(target.flow.remote, "[2001:db8::99]:5080".parse().unwrap());
        assert_eq!(target.routes, ["<sip:[2001:db8::99]:5080;lr>"]);
    }

    #[test]
    fn no_binding_leads_to_a_translator() {
        let settings = Settings::for_tests();
        for path in ["<sip:[2001:db8::5]:5070;lr>", "<sip:[2001:db8::5]:5070;lr;transport=tcp>"] {
            let mut astray = Binding::clone(&binding("sip:+12125550123@[2001:db8::5]:5070", 1000));
            astray.path = vec![path.to_owned()];
            assert!(of_binding(&astray, &incoming(), &settings).is_none(), "{path}");
        }
    }

    #[test]
    fn translators_take_turns() {
        let settings = Settings::for_tests();
        let uris = |first| {
            let groups = of_translators("+81312345678", first, &incoming(), &settings);
            groups.iter().filter_map(|group| group.first()?.uri.clone()).collect::<Vec<_>>()
        };
        let (one, two) = ("sip:+81312345678@[2001:db8::5]:5070", "sip:+81312345678@[2001:db8::6]:5070");
        assert_eq!(uris(0), [one, two]);
        assert_eq!(uris(1), [two, one]);
        assert_eq!(uris(usize::MAX - 1).len(), 2);
    }
}
