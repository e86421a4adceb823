//! Requests whose way is given: those of a dialog that we are in, to a GRUU of ours, or over a flow of ours.

use std::time::Instant;

use registrar::Gruu;
use sip_core::flow::Flow;
use sip_core::transaction::ServerId;
use sip_core::wire::{Message, Method, Name, StatusCode, Uri};

use crate::admission::makes_dialog;
use crate::core::ProxyCore;
use crate::fork::{Fork, Kind};
use crate::forward::Forwarding;
use crate::path::Path;
use crate::refusal::Refusal;
use crate::resolve::{Caller, Destination, Domain, domain_of};
use crate::target::{Target, of_bindings};
use crate::validate::Valid;

impl ProxyCore {
    /// A request of a dialog that we are in: no new authentication, and no other way than its Route.
    pub(crate) fn in_dialog(
        &mut self,
        now: Instant,
        server: ServerId,
        method: &Method,
        valid: &Valid,
        path: &Path,
        flow: Flow,
    ) -> Result<(), Refusal> {
        let max_forwards = valid.max_forwards.ok_or(Refusal::new(StatusCode::TOO_MANY_HOPS, ""))?;
        let (message, mut target) = self
            .next_in_dialog(now, path, &flow)
            .ok_or(Refusal::new(StatusCode::SERVER_INTERNAL_ERROR, "Next Hop Unresolved"))?;
        match method {
            Method::Bye => {
                if let Some(record) = self.calls.ended(self.unix_ms(now), &message) {
                    self.write_record(record);
                }
                tracing::info!(call_id = message.call_id().unwrap_or_default(), "call ends");
            }
            _ => self.calls.touch(now, &message),
        }
        target.trusted = self.settings.is_translator(&target.flow);
        let base = match self.settings.is_translator(&flow) {
            true => self.prepare(&message, &Caller::Trunk, max_forwards)?,
            false => self.prepare_untrusted(&message, max_forwards),
        };
        let (session, change) = self.settings.session.of_request(&message)?;
        let base = change.apply(base);
        let fork =
            Fork::new(*method == Method::Invite, Kind::Hop, vec![vec![target]], self.settings.timers.clone());
        self.forward(
            now,
            Forwarding {
                server,
                base,
                flow,
                fork,
                hash: valid.hash,
                record_route: false,
                session,
                tried: Vec::new(),
                attempt: None,
            },
        )
    }

    /// Forwards over one of our flows what another node of ours has admitted and routed (RFC 5626 §5.3.1).
    pub(crate) fn over_flow(
        &mut self,
        now: Instant,
        server: ServerId,
        method: &Method,
        valid: &Valid,
        path: &Path,
        (flow, over): (Flow, Flow),
    ) -> Result<(), Refusal> {
        let max_forwards = valid.max_forwards.ok_or(Refusal::new(StatusCode::TOO_MANY_HOPS, ""))?;
        let base = path.message.edit().set(Name::MaxForwards, max_forwards).finish();
        let target = Target::new(None, over, false);
        let fork =
            Fork::new(*method == Method::Invite, Kind::Hop, vec![vec![target]], self.settings.timers.clone());
        let record_route = makes_dialog(method) && path.message.to_tag().is_none();
        let (hash, session, tried, attempt) = (valid.hash, None, Vec::new(), None);
        self.forward(
            now,
            Forwarding { server, base, flow, fork, hash, record_route, session, tried, attempt },
        )
    }

    /// The next hop of a request in a dialog, by its Route or its Request-URI. A GRUU of ours (RFC 5627 §6.1) is resolved here: phones give
    /// it as their Contact.
    pub(crate) fn next_in_dialog(&self, now: Instant, path: &Path, flow: &Flow) -> Option<(Message, Target)> {
        let uri = path.uri().ok().filter(|_| !path.has_routes);
        let gruu = uri.as_ref().and_then(|uri| Some((uri, self.settings.registrar.gruu.read(uri)?)));
        let ours = gruu.and_then(|(uri, gruu)| {
            let domain = domain_of(uri, flow, &self.directory, &self.settings)?;
            let Ok(Destination::Line(line)) = self.line_of_gruu(&gruu, uri, &domain) else { return None };
            let mut bindings = self.locations.lookup(line.id, self.clock.unix(now));
            bindings.retain(|binding| gruu.names(binding));
            of_bindings(&bindings, flow, &self.settings, None).into_iter().flatten().next()
        });
        match ours {
            Some(target) => Some((path.message.clone(), target)),
            None => {
                if let Some((message, next)) = path.next(flow, &self.settings) {
                    return Some((message, Target::new(None, next, false)));
                }
                let (message, wanted) = path.next_name()?;
                Some((message, Target::behind(wanted, flow)))
            }
        }
    }

    /// The line that a GRUU of ours belongs to; whoever calls it, since a GRUU is given to be called (RFC 5627 §6.1).
    pub(crate) fn line_of_gruu(
        &self,
        gruu: &Gruu,
        uri: &Uri,
        domain: &Domain,
    ) -> Result<Destination, Refusal> {
        let line = match (gruu, domain) {
            (Gruu::Temporary { line, .. }, _) => self.directory.line(*line),
            (Gruu::Public { .. }, Domain::Site(site)) => {
                uri.user().and_then(|user| self.directory.line_at(site.id, &user))
            }
            (Gruu::Public { .. }, Domain::Platform) => None,
        };
        line.map(Destination::Line).ok_or(Refusal::new(StatusCode::NOT_FOUND, ""))
    }
}
