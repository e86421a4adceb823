//! REGISTER (RFC 3261 §10.3): from a request to changes, and from the commit to the answer.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use schema::{Binding, Change, Directory, Line, SaveError};
use sip_core::flow::Flow;
use sip_core::ids::IdSource;
use sip_core::transaction::ServerId;
use sip_core::wire::header::{Require, TokenList};
use sip_core::wire::{Host, Message, Uri};

use crate::address_check::AddressCheck;
use crate::answer::{Refusal, unavailable};
use crate::asked::Asked;
use crate::{Locations, Settings};

/// Handles REGISTER requests of one worker.
#[derive(Debug)]
pub struct Registrar {
    pub(crate) settings: Settings,
    pub(crate) locations: Arc<Locations>,
    pub(crate) directory: Arc<Directory>,
    addresses: AddressCheck,
    pending: HashMap<u64, Pending>,
    next_token: u64,
}

/// What to do with a REGISTER.
#[derive(Debug)]
pub enum Step {
    /// Answer at once.
    Respond(Message),
    /// Save first; then [`Registrar::saved`] with this number gives the answer.
    Save(u64, Vec<Change>),
}

/// A REGISTER whose changes are on their way to the disk.
#[derive(Debug)]
struct Pending {
    server: ServerId,
    request: Message,
    line: Arc<Line>,
    exact: Vec<Binding>,
    /// The address that this REGISTER teaches, when it is not the one that the binding was known with.
    learned: Option<IpAddr>,
    fallback: Option<Vec<Binding>>,
}

impl Registrar {
    /// A registrar over the process's location table. The directory tells which devices a line has, and so which addresses to expect.
    pub fn new(settings: Settings, locations: Arc<Locations>, directory: Arc<Directory>) -> Registrar {
        let addresses = AddressCheck::new(Arc::clone(&directory), settings.mask);
        Registrar { settings, locations, directory, addresses, pending: HashMap::new(), next_token: 0 }
    }

    /// REGISTERs that wait for the disk.
    pub fn waiting(&self) -> usize {
        self.pending.len()
    }

    /// Takes a REGISTER of an authenticated line whose To names that line.
    pub fn register(
        &mut self,
        unix_now: Duration,
        server: ServerId,
        request: &Message,
        flow: &Flow,
        line: &Arc<Line>,
        ids: &mut IdSource,
    ) -> Step {
        match self.plan(unix_now, request, flow, line) {
            Ok(Plan { changes, refreshes, learned, fallback }) => {
                for binding in refreshes {
                    self.locations.put(binding);
                }
                if changes.is_empty() {
                    return Step::Respond(self.answer(unix_now, request, line, ids));
                }
                if self.pending.len() >= MAX_PENDING {
                    return Step::Respond(unavailable(request, ids));
                }
                self.next_token += 1;
                let exact = changes.iter().filter_map(|change| match change {
                    Change::PutBinding(binding) => Some(binding.clone()),
                    _ => None,
                });
                let exact = exact.collect();
                let (request, line) = (request.clone(), Arc::clone(line));
                let pending = Pending { server, request, line, exact, learned, fallback };
                self.pending.insert(self.next_token, pending);
                Step::Save(self.next_token, changes)
            }
            Err(refusal) => Step::Respond(self.refuse(request, refusal, ids)),
        }
    }

    /// Takes what became of a save; gives the answer to send. `None` for a number that is not pending.
    pub fn saved(
        &mut self,
        unix_now: Duration,
        token: u64,
        result: Result<(), SaveError>,
        ids: &mut IdSource,
    ) -> Option<(ServerId, Message)> {
        let Pending { server, request, line, exact, learned, fallback } = self.pending.remove(&token)?;
        let response = match (result, fallback) {
            (Ok(()), _) => {
                exact.into_iter().for_each(|binding| self.locations.narrow(binding));
                if let Some(source) = learned {
                    self.addresses.learn(&line, source);
                }
                self.answer(unix_now, &request, &line, ids)
            }
            (Err(_), Some(bindings)) => {
                metrics::counter!("centrex6_registrations_shortened_total").increment(1);
                for binding in bindings {
                    self.locations.put(binding);
                }
                self.answer(unix_now, &request, &line, ids)
            }
            (Err(error), None) => {
                metrics::counter!("centrex6_registrations_unsaved_total").increment(1);
                tracing::warn!(%error, "a registration could not be saved");
                unavailable(&request, ids)
            }
        };
        Some((server, response))
    }

    /// What the REGISTER changes, without changing it.
    fn plan(&self, unix_now: Duration, request: &Message, flow: &Flow, line: &Line) -> Result<Plan, Refusal> {
        let required = request.all::<Require>().flatten();
        let unknown: Vec<String> = required
            .filter(|tag| !SUPPORTED.iter().any(|own| tag.is(own)))
            .map(|tag| tag.token().to_owned())
            .collect();
        if !unknown.is_empty() {
            return Err(Refusal::BadExtension(unknown.join(", ")));
        }
        let asked = Asked::read(request, line.id, flow, &self.settings.node)?;
        if asked.contacts.iter().any(|contact| self.is_own_gruu(&contact.uri)) {
            return Err(Refusal::Circle);
        }
        let now = unix_now.as_secs() as i64;
        let current = self.locations.all(line.id);
        if asked.remove_all {
            let newest = current.iter().find(|binding| asked.is_outdated(binding));
            return match newest {
                Some(_) => Err(Refusal::Outdated),
                None if current.is_empty() => Ok(Plan::default()),
                None => {
                    Ok(Plan { changes: vec![Change::RemoveBindings { line: line.id }], ..Plan::default() })
                }
            };
        }
        let mut plan = Plan { fallback: Some(Vec::new()), ..Plan::default() };
        let mut added = 0;
        for contact in &asked.contacts {
            let expires = self.granted(contact.expires)?;
            let old = current.iter().find(|binding| contact.replaces(binding));
            if old.is_some_and(|old| asked.is_outdated(old)) {
                return Err(Refusal::Outdated);
            }
            if expires == 0 {
                if let Some(old) = old {
                    plan.changes.push(Change::RemoveBinding { line: line.id, contact: old.contact.clone() });
                    plan.fallback = None;
                }
                continue;
            }
            let mut binding = asked.binding(contact, now + expires);
            match old {
                // Inside what is stored, and nothing else changed: memory is enough.
                Some(old) if same_but_time(old, &binding) && binding.expires_at <= old.stored_until => {
                    binding.stored_until = old.stored_until;
                    plan.refreshes.push(binding);
                }
                _ => {
                    match old {
                        Some(old)
                            if same_but_time(old, &binding)
                                && old.stored_until - now >= SHORTEST_FALLBACK =>
                        {
                            let stored = Binding {
                                expires_at: old.stored_until,
                                stored_until: old.stored_until,
                                ..binding.clone()
                            };
                            plan.fallback
                                .as_mut()
                                .into_iter()
                                .for_each(|fallback| fallback.push(stored.clone()));
                        }
                        _ => plan.fallback = None,
                    }
                    let known = old.filter(|old| old.expires_at > now).and_then(|old| old.source);
                    if asked.path.is_empty() && known.map(|source| source.ip()) != Some(flow.remote.ip()) {
                        // Behind a Path (RFC 3327) the source is an edge proxy's.
                        plan.learned = Some(flow.remote.ip());
                    }
                    added += usize::from(old.is_none_or(|old| old.expires_at <= now));
                    // The margin equals the grant, so that every other refresh costs no commit.
                    binding.stored_until = binding.expires_at + expires;
                    // A flow that comes from elsewhere takes the place of the one with its number (RFC 5626 §6).
                    if let Some(moved) = old.filter(|old| old.contact != binding.contact) {
                        plan.changes
                            .push(Change::RemoveBinding { line: line.id, contact: moved.contact.clone() });
                    }
                    plan.changes.push(Change::PutBinding(binding));
                }
            }
        }
        let live = current.iter().filter(|binding| binding.expires_at > now).count();
        if added > 0 && live + added > self.settings.max_bindings {
            return Err(Refusal::TooMany);
        }
        // The store would refuse it, and the phone would get a 503 and come back with the same for ever.
        if plan.changes.iter().any(|change| change.check().is_err()) {
            return Err(Refusal::BadRequest("A Contact, Path or Call-ID cannot be stored"));
        }
        Ok(plan)
    }

    /// The seconds that are granted (RFC 3261 §10.3, step 7).
    fn granted(&self, asked: Option<u32>) -> Result<i64, Refusal> {
        let asked = asked.map_or(self.settings.default_expires.as_secs(), u64::from);
        if asked > 0 && asked < self.settings.min_expires.as_secs() {
            return Err(Refusal::TooBrief);
        }
        Ok(asked.min(self.settings.max_expires.as_secs()) as i64)
    }

    /// Whether a contact would lead back to the line (RFC 5627 §5.1).
    fn is_own_gruu(&self, contact: &str) -> bool {
        let uri = contact.parse::<Uri>().ok().filter(|uri| self.settings.gruu.read(uri).is_some());
        let host = uri.as_ref().and_then(Uri::sip).map(|uri| &uri.host_port.host);
        matches!(host, Some(Host::Name(name)) if self.directory.site_by_domain(name).is_some())
    }
}

/// What a REGISTER changes.
#[derive(Debug, Default)]
struct Plan {
    /// To be on disk before the answer.
    changes: Vec<Change>,
    /// For memory only.
    refreshes: Vec<Binding>,
    /// An address that no live binding of the same contact was known with.
    learned: Option<IpAddr>,
    /// What memory may grant when the store is away: every change only extends what is stored, so grant what is stored.
    fallback: Option<Vec<Binding>>,
}

/// Whether only the times and the REGISTER's own numbers differ.
fn same_but_time(old: &Binding, new: &Binding) -> bool {
    old.contact == new.contact
        && old.q == new.q
        && old.path == new.path
        && old.received == new.received
        && old.instance == new.instance
        && old.reg_id == new.reg_id
        && old.user_agent == new.user_agent
}

/// Extensions of REGISTER that we understand.
pub(crate) const SUPPORTED: [&str; 3] = ["path", "outbound", "gruu"];
/// Seconds that must be left of what is stored to be worth granting while the store is away.
const SHORTEST_FALLBACK: i64 = 10;
/// REGISTERs of one worker that may wait for the disk.
const MAX_PENDING: usize = 50_000;

#[cfg(test)]
pub(crate) mod tests {
    use bytes::Bytes;
    use schema::secret::{Ha1Set, Password, Sealed};
    use schema::{Apply, LineId, SiteId};
    use sip_core::flow::Transport;
    use sip_core::ids::WorkerId;
    use sip_core::wire::{Limits, Name, StatusCode};

    use super::*;
    use crate::asked::flow_text;

    pub(crate) fn binding(contact: &str, expires_at: i64) -> Binding {
        Binding {
            line: LineId(1),
            contact: contact.to_owned(),
            call_id: "c1".to_owned(),
            cseq: 1,
            q: 1000,
            expires_at,
            stored_until: expires_at,
            path: Vec::new(),
            received: flow_text(&flow(), "node1", false),
            user_agent: None,
            instance: None,
            reg_id: None,
            source: None,
        }
    }

    fn flow() -> Flow {
        let (local, remote) = ("[::1]:5060".parse().unwrap(), "[::1]:6000".parse().unwrap());
        Flow { transport: Transport::Udp, local, remote, connection: None }
    }

    pub(crate) struct Bench {
        registrar: Registrar,
        pub(crate) locations: Arc<Locations>,
        line: Arc<Line>,
        ids: IdSource,
        cseq: u32,
        /// Where the REGISTERs come from.
        pub(crate) flow: Flow,
    }

    impl Bench {
        pub(crate) fn new() -> Bench {
            Bench::with(Settings::default())
        }

        pub(crate) fn with(settings: Settings) -> Bench {
            let locations = Arc::new(Locations::new());
            let ha1 = Ha1Set::of("s1-101", "centrex6", &Password::new("secret"));
            let mut line =
                Line::new(SiteId(1), "101", "s1-101", ha1, Sealed::from_stored("x".into())).unwrap();
            line.id = LineId(1);
            let directory = crate::address_check::tests::directory(&[]);
            let registrar = Registrar::new(settings, Arc::clone(&locations), directory);
            let (line, ids) = (Arc::new(line), IdSource::new(WorkerId(0), [1; 32]));
            Bench { registrar, locations, line, ids, cseq: 0, flow: flow() }
        }

        fn step(&mut self, now: u64, headers: &str) -> Step {
            self.cseq += 1;
            let text = format!(
                "REGISTER sip:s1.example.net SIP/2.0\r\nVia: SIP/2.0/UDP [::1]:6000;branch=z9hG4bK{0}\r\n\
                 From: <sip:101@s1.example.net>;tag=1\r\nTo: <sip:101@s1.example.net>\r\nCall-ID: c1\r\n\
                 CSeq: {0} REGISTER\r\n{headers}\r\n",
                self.cseq
            );
            let request = Message::parse(Bytes::from(text), &Limits::default()).unwrap();
            let server = ServerId::default();
            self.registrar.register(
                Duration::from_secs(now),
                server,
                &request,
                &self.flow,
                &self.line,
                &mut self.ids,
            )
        }

        /// Registers with a store that takes everything; gives the changes and the answer.
        pub(crate) fn register(&mut self, now: u64, headers: &str) -> (Vec<Change>, Message) {
            match self.step(now, headers) {
                Step::Respond(response) => (Vec::new(), response),
                Step::Save(token, changes) => {
                    changes.iter().for_each(|change| self.locations.apply(change));
                    let saved = self.registrar.saved(Duration::from_secs(now), token, Ok(()), &mut self.ids);
                    (changes, saved.unwrap().1)
                }
            }
        }
    }

    pub(crate) fn status(answer: &(Vec<Change>, Message)) -> u16 {
        answer.1.status().unwrap().code()
    }

    pub(crate) fn contacts(answer: &(Vec<Change>, Message)) -> Vec<String> {
        answer.1.raws(Name::Contact).map(|raw| String::from_utf8_lossy(raw).into_owned()).collect()
    }

    #[test]
    fn a_binding_is_granted_listed_refreshed_and_removed() {
        let mut bench = Bench::new();
        let first =
            bench.register(1000, "Contact: <sip:101@[::1]:6000>;expires=600\r\nPath: <sip:edge;lr>\r\n");
        assert_eq!((status(&first), first.0.len()), (200, 1));
        assert_eq!(contacts(&first), ["<sip:101@[::1]:6000>;expires=600"]);
        assert_eq!(first.1.text(Name::Path), Some("<sip:edge;lr>"));
        // Inside what is stored (600 and as much margin): no commit.
        let refresh =
            bench.register(1500, "Contact: <sip:101@[::1]:6000>;expires=600\r\nPath: <sip:edge;lr>\r\n");
        assert_eq!(
            (refresh.0.len(), contacts(&refresh)),
            (0, vec!["<sip:101@[::1]:6000>;expires=600".to_owned()])
        );
        let later =
            bench.register(1900, "Contact: <sip:101@[::1]:6000>;expires=600\r\nPath: <sip:edge;lr>\r\n");
        assert_eq!(later.0.len(), 1);
        let query = bench.register(1900, "");
        assert_eq!(contacts(&query).len(), 1);
        let gone = bench.register(1901, "Contact: *\r\nExpires: 0\r\n");
        assert_eq!((gone.0.len(), contacts(&gone).len()), (1, 0));
    }

    #[test]
    fn an_address_is_learned_when_it_is_new() {
        let mut bench = Bench::new();
        let mut learned = |now, headers: &str| match bench.step(now, headers) {
            Step::Respond(_) => None,
            Step::Save(token, changes) => {
                changes.iter().for_each(|change| bench.locations.apply(change));
                let learned = bench.registrar.pending.get(&token).and_then(|pending| pending.learned);
                bench.registrar.saved(Duration::from_secs(now), token, Ok(()), &mut bench.ids);
                learned
            }
        };
        let contact = "Contact: <sip:101@[::1]:6000>;expires=600\r\n";
        assert_eq!(learned(1000, contact), Some(flow().remote.ip()));
        assert_eq!(learned(1500, contact), None);
        assert_eq!(learned(1900, contact), None, "longer than what is stored, and no other address");
        assert_eq!(learned(9000, contact), Some(flow().remote.ip()), "it had lapsed");
        let behind = "Contact: <sip:7@[::1]:6000>;expires=600\r\nPath: <sip:edge;lr>\r\n";
        assert_eq!(learned(9000, behind), None);
        assert_eq!(learned(9001, "Contact: *\r\nExpires: 0\r\n"), None);
    }

    /// RFC 4475 §3.1.1.4: contacts that differ in escaped nulls are two.
    /// RFC 4475 §3.3.12: a parameter behind a bare Contact is not stored as the URI's.
    /// RFC 4475 §3.3.13: a parameter within a Contact's brackets is stored as the URI's.
    /// RFC 4475 §3.3.14: headers of a Contact's URI are kept with it.
    #[test]
    fn contacts_of_the_torture_messages() {
        let mut bench = Bench::new();
        let mut stored = |headers: &str| {
            bench.register(0, "Contact: *\r\nExpires: 0\r\n");
            contacts(&bench.register(0, &format!("{headers}Expires: 100\r\n")))
        };
        let nulls = "Contact: <sip:%00@host5.example.com>\r\nContact: <sip:%00%00@host5.example.com>\r\n";
        assert_eq!(stored(nulls).len(), 2);
        assert_eq!(
            stored("Contact: sip:+19725552222@gw1.example.net;unknownparam\r\n"),
            ["<sip:+19725552222@gw1.example.net>;expires=100"]
        );
        assert_eq!(
            stored("Contact: <sip:+19725552222@gw1.example.net;unknownparam>\r\n"),
            ["<sip:+19725552222@gw1.example.net;unknownparam>;expires=100"]
        );
        assert_eq!(
            stored("M: <sip:user@example.com?Route=%3Csip:sip.example.com%3E>\r\n"),
            ["<sip:user@example.com?Route=%3Csip:sip.example.com%3E>;expires=100"]
        );
    }

    #[test]
    fn several_contacts_come_best_first() {
        let mut bench = Bench::new();
        let both = bench.register(0, "Contact: <sip:a@[::1]>;q=0.5, <sip:b@[::1]>\r\nExpires: 100\r\n");
        assert_eq!(contacts(&both), ["<sip:b@[::1]>;expires=100", "<sip:a@[::1]>;q=0.500;expires=100"]);
        let one = bench.register(0, "Contact: <sip:a@[::1]>;expires=0\r\n");
        assert_eq!(contacts(&one).len(), 1);
    }

    #[test]
    fn what_makes_no_sense_is_refused_and_changes_nothing() {
        let mut bench = Bench::new();
        let brief = bench.register(0, "Contact: <sip:a@[::1]>;expires=5\r\n");
        assert_eq!((status(&brief), brief.1.text(Name::MinExpires)), (423, Some("60")));
        assert_eq!(status(&bench.register(0, "Contact: *\r\nExpires: 60\r\n")), 400);
        assert_eq!(status(&bench.register(0, "Contact: *, <sip:a@[::1]>\r\nExpires: 0\r\n")), 400);
        let unknown = bench.register(0, "Contact: <sip:a@[::1]>\r\nRequire: path, foo\r\n");
        assert_eq!((status(&unknown), unknown.1.text(Name::Unsupported)), (420, Some("foo")));
        let many: String = (0..9).map(|at| format!("Contact: <sip:{at}@[::1]>\r\n")).collect();
        assert_eq!(status(&bench.register(0, &many)), 403);
        assert_eq!(bench.locations.lines(), 0);
    }

    #[test]
    fn what_cannot_be_stored_is_refused_at_once() {
        let mut bench = Bench::new();
        let long = format!("Contact: <sip:{}@[::1]>\r\n", "a".repeat(2000));
        assert_eq!(status(&bench.register(1000, &long)), 400);
        let tab = "Contact: <sip:101@[::1]>\r\nUser-Agent: Phone\t1.0\r\n";
        assert_eq!(status(&bench.register(1000, tab)), 200);
    }

    #[test]
    fn an_older_cseq_of_the_same_call_id_fails() {
        let mut bench = Bench::new();
        bench.cseq = 10;
        assert_eq!(status(&bench.register(0, "Contact: <sip:a@[::1]>\r\n")), 200);
        bench.cseq = 4;
        assert_eq!(status(&bench.register(1, "Contact: <sip:a@[::1]>;expires=0\r\n")), 500);
        assert_eq!(bench.locations.lines(), 1);
    }

    #[test]
    fn while_the_store_is_away_a_refresh_gets_what_is_stored_and_a_newcomer_gets_503() {
        let mut bench = Bench::new();
        bench.register(1000, "Contact: <sip:a@[::1]>;expires=600\r\n");
        let Step::Save(token, _) = bench.step(1900, "Contact: <sip:a@[::1]>;expires=600\r\n") else {
            panic!()
        };
        let away =
            bench.registrar.saved(Duration::from_secs(1900), token, Err(SaveError::Away), &mut bench.ids);
        let answer = (Vec::new(), away.unwrap().1);
        assert_eq!(contacts(&answer), ["<sip:a@[::1]>;expires=300"]);
        let Step::Save(token, _) = bench.step(1900, "Contact: <sip:b@[::1]>\r\n") else { panic!() };
        let away =
            bench.registrar.saved(Duration::from_secs(1900), token, Err(SaveError::Away), &mut bench.ids);
        let answer = away.unwrap().1;
        assert_eq!(answer.status(), Some(StatusCode::SERVICE_UNAVAILABLE));
        assert!(answer.has(Name::RetryAfter));
    }
}
