//! New requests: who may ask what of us, and where it leads.

use std::sync::Arc;
use std::time::Instant;

use node::sources::Offence;
use registrar::{Admission, Kind as AskAs, OUTSIDE, Step};
use schema::{CallRecord, CallResult, Direction, EndedBy, Line};
use sip_core::core::Token;
use sip_core::flow::Flow;
use sip_core::transaction::ServerId;
use sip_core::wire::header::{Contact, NameAddr, PAssertedIdentity, Require, TokenList};
use sip_core::wire::{Builder, HeaderError, Host, Message, Method, Name, StatusCode, Uri};

use crate::call_table::result_of;
use crate::core::{ProxyCore, Question};
use crate::fork::{Fork, Kind};
use crate::forward::{Attempt, Forwarding, Keep};
use crate::path::Path;
use crate::refusal::Refusal;
use crate::resolve::{Caller, Destination, Domain, domain_of, resolve};
use crate::subscribe::is_about_registrations;
use crate::target::{of_bindings, of_translators};
use crate::telemetry;
use crate::validate::{Valid, is_known, max_breadth, validate};

impl ProxyCore {
    /// Takes a new request, which is answered or forwarded.
    pub(crate) fn request(&mut self, now: Instant, server: ServerId, request: Message, flow: Flow) {
        let Some(method) = request.method().cloned() else { return };
        telemetry::request(&method);
        if let Err(refusal) = self.take(now, server, &method, &request, flow) {
            self.refuse(now, server, &method, &request, refusal);
        }
    }

    /// Answers for ourselves.
    pub(crate) fn refuse(
        &mut self,
        now: Instant,
        server: ServerId,
        method: &Method,
        request: &Message,
        refusal: Refusal,
    ) {
        let status = refusal.status;
        // A challenge is no event: every call begins with one.
        if !matches!(status, StatusCode::UNAUTHORIZED | StatusCode::PROXY_AUTHENTICATION_REQUIRED) {
            let call_id = request.call_id().unwrap_or_default();
            let reason = if refusal.reason.is_empty() { status.reason() } else { refusal.reason };
            let uri = self.settings.mask.number(request.request_uri_text());
            tracing::info!(call_id, %method, %uri, status = status.code(), reason, "refused");
        }
        let response = self.own_response(request, refusal);
        // Its source may be forged.
        self.layer.answer_once(server);
        self.respond(now, server, response);
    }

    /// A response of our own.
    pub(crate) fn own_response(&mut self, request: &Message, refusal: Refusal) -> Message {
        let reason = (!refusal.reason.is_empty()).then_some(refusal.reason);
        let tag = self.ids.tag();
        let mut builder = Builder::response_to(request, refusal.status, reason, Some(&tag));
        for (name, value) in refusal.headers {
            builder = builder.header(name, value);
        }
        let server = Some(&self.settings.user_agent).filter(|agent| !agent.is_empty());
        builder.header_if(Name::Server, server).finish()
    }

    pub(crate) fn respond(&mut self, now: Instant, server: ServerId, response: Message) {
        if let Some(status) = response.status().filter(|status| status.is_final()) {
            telemetry::response(status);
        }
        self.layer.respond(now, server, response);
    }

    fn take(
        &mut self,
        now: Instant,
        server: ServerId,
        method: &Method,
        request: &Message,
        flow: Flow,
    ) -> Result<(), Refusal> {
        let valid = validate(request)?;
        let path = Path::of(request, &flow, &self.settings)?;
        // A node of ours has admitted it, and knows which flow leads to the phone.
        if let Some(over) = path.over {
            return self.over_flow(now, server, method, &valid, &path, (flow, over));
        }
        if self.subscriptions.notifier.owns(request) {
            return self.resubscribe(now, server, request);
        }
        // A dialog that we once admitted goes by its Route alone.
        if path.signed && request.to_tag().is_some() {
            return self.in_dialog(now, server, method, &valid, &path, flow);
        }
        let uri = path.uri().map_err(|_| Refusal::new(StatusCode::BAD_REQUEST, "Malformed Request-URI"))?;
        let calls_for_help = self.calls_for_help(method, &uri);
        if request.to_tag().is_none() && !calls_for_help {
            self.take_of_source(now, &flow)?;
        }
        let domain = domain_of(&uri, &flow, &self.directory, &self.settings);
        let Some(domain) = domain.filter(|_| !path.has_routes) else {
            telemetry::dropped("relay");
            self.offended(now, &flow, Offence::Relay);
            return Err(Refusal::new(StatusCode::FORBIDDEN, "Relaying Denied"));
        };
        if *method == Method::Register {
            return self.register(now, server, request, &flow);
        }
        if *method == Method::Options && (uri.user().is_none() || valid.max_forwards.is_none()) {
            self.offended(now, &flow, Offence::Probe);
            return self.options(now, server, request);
        }
        if is_about_registrations(request) && request.to_tag().is_none() && uri.user().is_some() {
            return self.subscribe(now, server, request, &flow, (&uri, &domain));
        }
        if uri.user().is_none() {
            return Err(match is_known(method) {
                // RFC 3261 §12.2.2: we hold no dialogs of our own.
                true if request.to_tag().is_some() => Refusal::new(StatusCode::CALL_DOES_NOT_EXIST, ""),
                true => Refusal::new(StatusCode::METHOD_NOT_ALLOWED, "").with(Name::Allow, OWN_METHODS),
                false => Refusal::new(StatusCode::NOT_IMPLEMENTED, ""),
            });
        }
        if self.draining && *method == Method::Invite {
            return Err(Refusal::later("Going Down", self.settings.limits.retry_after));
        }
        let caller = self.admit(now, request, &flow)?;
        let call = NewCall {
            server,
            method,
            valid: &valid,
            message: &path.message,
            flow,
            uri: &uri,
            calls_for_help,
        };
        let routed = self.route(now, &call, &caller, &domain);
        if let (Err(refusal), Caller::Line(line), Method::Invite) = (&routed, &caller, method) {
            self.write_refused_call(now, line, &call, refusal);
        }
        routed
    }

    /// Who sends an out-of-dialog request.
    fn admit(&mut self, now: Instant, request: &Message, flow: &Flow) -> Result<Caller, Refusal> {
        if self.settings.is_translator(flow) {
            return Ok(self.referrer(request).map_or(Caller::Trunk, Caller::Referrer));
        }
        self.authenticate(now, request, flow, AskAs::Proxy).map(Caller::Line)
    }

    /// The line whose REFER a translator carries out (RFC 3892 §2.1). Translators alone are believed: what they say of it is their own
    /// word, never a trunk's.
    fn referrer(&self, request: &Message) -> Option<Arc<Line>> {
        let referrer = NameAddr::parse(request.text(Name::ReferredBy)?).ok()?;
        let Host::Name(domain) = &referrer.uri.sip()?.host_port.host else { return None };
        let site = self.directory.site_by_domain(domain)?;
        self.directory.line_at(site.id, &referrer.uri.user()?)
    }

    /// The line whose credentials a request holds.
    pub(crate) fn authenticate(
        &mut self,
        now: Instant,
        request: &Message,
        flow: &Flow,
        ask_as: AskAs,
    ) -> Result<Arc<Line>, Refusal> {
        let challenge = match ask_as {
            AskAs::Server => StatusCode::UNAUTHORIZED,
            AskAs::Proxy => StatusCode::PROXY_AUTHENTICATION_REQUIRED,
        };
        match self.gatekeeper.admit(self.clock.unix(now), request, flow, ask_as, &mut self.ids) {
            Admission::Admitted(line) => {
                self.gate.sources.vouch(flow.remote.ip());
                Ok(line)
            }
            Admission::Challenged(challenges) => {
                // Who answers an old challenge knows a password, perhaps; that is seen next time.
                if !request.has(Name::Authorization) && !request.has(Name::ProxyAuthorization) {
                    self.offended(now, flow, Offence::Unauthenticated);
                }
                Err(Refusal::challenge(challenge, &challenges))
            }
            Admission::Refused(status, reason) => {
                self.offended(now, flow, Offence::Credentials);
                Err(Refusal::new(status, reason))
            }
            Admission::Elsewhere(line) => {
                self.sighted(now, line.id, flow);
                Err(Refusal::new(StatusCode::FORBIDDEN, OUTSIDE))
            }
        }
    }

    fn route(
        &mut self,
        now: Instant,
        call: &NewCall<'_>,
        caller: &Caller,
        domain: &Domain,
    ) -> Result<(), Refusal> {
        let is_invite = *call.method == Method::Invite;
        if is_invite && !call.calls_for_help {
            match caller {
                Caller::Line(line) | Caller::Referrer(line) => self.take_of_site(now, line)?,
                Caller::Trunk => self.take_call(now)?,
            }
        }
        let max_forwards = call.valid.max_forwards.ok_or(Refusal::new(StatusCode::TOO_MANY_HOPS, ""))?;
        let breadth = max_breadth(call.message)?;
        let gruu = self.settings.registrar.gruu.read(call.uri);
        let destination = match &gruu {
            Some(gruu) => self.line_of_gruu(gruu, call.uri, domain)?,
            None => resolve(caller, domain, call.uri, &self.directory, &self.settings)?,
        };
        let (kind, groups, callee) = match &destination {
            Destination::Line(line) => {
                let mut bindings = self.locations.lookup(line.id, self.clock.unix(now));
                if let Some(gruu) = &gruu {
                    let is_outlived = bindings.iter().any(|binding| gruu.is_outlived_by(binding));
                    bindings.retain(|binding| gruu.names(binding));
                    if bindings.is_empty() && is_outlived {
                        // RFC 5627 §6.1: it is good no more, and will never be again.
                        return Err(Refusal::new(StatusCode::NOT_FOUND, ""));
                    }
                }
                let groups = of_bindings(&bindings, &call.flow, &self.settings, breadth);
                if groups.is_empty() {
                    return Err(Refusal::new(StatusCode::TEMPORARILY_UNAVAILABLE, "Not Registered"));
                }
                (Kind::Phones, groups, line.auth_user.clone())
            }
            Destination::Outside(number) => {
                self.next_translator = self.next_translator.wrapping_add(1);
                let mut groups = of_translators(number, self.next_translator, &call.flow, &self.settings);
                let are_there = !groups.is_empty();
                if !call.calls_for_help {
                    // RFC 7339 §5.9: calls for help go first, and are never kept back.
                    groups.retain(|group| {
                        group.iter().all(|target| self.is_wanted_by(now, target.flow.remote))
                    });
                }
                if groups.is_empty() {
                    let reason = if are_there { "Translators Overloaded" } else { "No Translator Available" };
                    return Err(Refusal::later(reason, self.settings.limits.retry_after));
                }
                (Kind::Gateways, groups, number.clone())
            }
        };
        let attempt = is_invite.then(|| {
            let keep = match (caller, kind) {
                (Caller::Trunk | Caller::Referrer(_), _) => Keep::Never,
                (Caller::Line(_), Kind::Phones | Kind::Hop) => Keep::Always,
                (Caller::Line(_), Kind::Gateways) => Keep::IfUnheard,
            };
            let direction = if kind == Kind::Phones { Direction::Internal } else { Direction::Outbound };
            let record = match caller {
                Caller::Line(line) => Some(self.new_record(now, line, call, direction)),
                Caller::Trunk | Caller::Referrer(_) => None,
            };
            Attempt { record, keep }
        });
        if is_invite {
            let from = match caller {
                Caller::Line(line) => line.auth_user.as_str(),
                Caller::Trunk => "trunk",
                Caller::Referrer(line) => line.auth_user.as_str(),
            };
            let call_id = call.message.call_id().unwrap_or_default();
            let targets: usize = groups.iter().map(Vec::len).sum();
            let mask = self.settings.mask;
            tracing::info!(call_id, from = %mask.number(from), to = %mask.number(&callee), targets, "call");
        }
        let (session, change) = self.settings.session.of_request(call.message)?;
        let base = change.apply(self.prepare(call.message, caller, max_forwards)?);
        let tried = match &destination {
            Destination::Line(line) => vec![line.id],
            Destination::Outside(_) => Vec::new(),
        };
        let fork = Fork::new(is_invite, kind, groups, self.settings.timers.clone());
        self.forward(
            now,
            Forwarding {
                server: call.server,
                base,
                flow: call.flow,
                fork,
                hash: call.valid.hash,
                record_route: makes_dialog(call.method),
                session,
                tried,
                attempt,
            },
        )
    }

    fn register(
        &mut self,
        now: Instant,
        server: ServerId,
        request: &Message,
        flow: &Flow,
    ) -> Result<(), Refusal> {
        // What no credentials make better is said at once (RFC 3261 §10.2: the address-of-record is a SIP or SIPS URI).
        let to = request.to()?.0.uri;
        if to.sip().is_none() {
            return Err(Refusal::new(StatusCode::BAD_REQUEST, "To Is No SIP URI"));
        }
        request.all::<Contact>().try_for_each(|contact| contact.map(drop))?;
        let line = self.authenticate(now, request, flow, AskAs::Server)?;
        if !self.is_aor(&to, &line, flow) {
            return Err(Refusal::new(StatusCode::FORBIDDEN, "Not Your Address-Of-Record"));
        }
        let unix_now = self.clock.unix(now);
        match self.registrar.register(unix_now, server, request, flow, &line, &mut self.ids) {
            Step::Respond(response) => self.respond(now, server, response),
            Step::Save(token, changes) => self.ask(Token(token), Question::Save(changes)),
        }
        Ok(())
    }

    /// Whether a To names the line: its extension at its site's domain or at the platform, or its authentication user there.
    fn is_aor(&self, uri: &Uri, line: &Line, flow: &Flow) -> bool {
        let user = uri.user();
        let is_extension = user.as_deref() == Some(line.extension.as_str());
        let is_auth_user = user.as_deref() == Some(line.auth_user.as_str());
        match domain_of(uri, flow, &self.directory, &self.settings) {
            Some(Domain::Site(site)) => site.id == line.site && (is_extension || is_auth_user),
            Some(Domain::Platform) => is_extension || is_auth_user,
            None => false,
        }
    }

    /// RFC 3261 §11.2, for ourselves: what we can do.
    fn options(&mut self, now: Instant, server: ServerId, request: &Message) -> Result<(), Refusal> {
        let required = request.all::<Require>().flatten().map(|tag| tag.token().to_owned());
        let unknown: Vec<String> = required
            .filter(|tag| !OWN_EXTENSIONS.split(", ").any(|own| own.eq_ignore_ascii_case(tag)))
            .collect();
        if !unknown.is_empty() {
            return Err(Refusal::unsupported(&unknown));
        }
        let answer = Refusal::new(StatusCode::OK, "")
            .with(Name::Allow, OWN_METHODS)
            .with(Name::AllowEvents, registrar::reg_event::PACKAGE)
            .with(Name::Accept, "application/sdp")
            .with(Name::Other("Accept-Encoding"), "identity")
            .with(Name::Other("Accept-Language"), "en")
            .with(Name::Supported, OWN_EXTENSIONS);
        let response = self.own_response(request, answer);
        self.respond(now, server, response);
        Ok(())
    }

    /// The request as every branch gets it: our credentials taken out, and the identity that we vouch for put in (RFC 3325 §5).
    pub(crate) fn prepare(
        &self,
        message: &Message,
        caller: &Caller,
        max_forwards: u32,
    ) -> Result<Message, HeaderError> {
        match caller {
            Caller::Trunk | Caller::Referrer(_) => {
                Ok(message.edit().set(Name::MaxForwards, max_forwards).finish())
            }
            Caller::Line(line) => {
                let mut edit = message.edit();
                edit.set(Name::MaxForwards, max_forwards)
                    .remove(Name::ProxyAuthorization)
                    .remove(Name::PPreferredIdentity)
                    .remove(Name::PAssertedIdentity);
                if let Some(identity) = self.identity(line) {
                    edit.append(Name::PAssertedIdentity, identity);
                }
                Ok(edit.finish())
            }
        }
    }

    /// The same for a request in a dialog, whose sender did not authenticate again.
    pub(crate) fn prepare_untrusted(&self, message: &Message, max_forwards: u32) -> Message {
        message
            .edit()
            .set(Name::MaxForwards, max_forwards)
            .remove(Name::ProxyAuthorization)
            .remove(Name::PPreferredIdentity)
            .remove(Name::PAssertedIdentity)
            .finish()
    }

    fn identity(&self, line: &Line) -> Option<PAssertedIdentity> {
        let site = self.directory.site(line.site)?;
        let uri = format!("sip:{}@{}", line.extension, site.domain).parse::<Uri>().ok()?;
        Some(PAssertedIdentity(NameAddr::new(uri)))
    }

    fn new_record(
        &self,
        now: Instant,
        line: &Arc<Line>,
        call: &NewCall<'_>,
        direction: Direction,
    ) -> CallRecord {
        let uri = call.uri;
        let domain = self.directory.site(line.site).map(|site| site.domain.clone()).unwrap_or_default();
        // As dialled; what cannot be dialled is shortened.
        let callee = uri.user().map_or_else(|| uri.to_string(), |user| user.into_owned());
        CallRecord {
            id: String::new(),
            node: self.settings.node.clone(),
            started_at: self.unix_ms(now),
            answered_at: None,
            ended_at: None,
            caller: format!("{}@{domain}", line.extension),
            callee: callee.chars().filter(|c| !c.is_control()).take(128).collect(),
            direction,
            line: Some(line.id),
            trunk: None,
            result: CallResult::Failed,
            status: None,
            reason: String::new(),
            ended_by: None,
            media: serde_json::Value::Null,
            call_ids: call.message.call_id().map(|id| id.chars().take(256).collect()).into_iter().collect(),
            explanation: String::new(),
        }
    }

    /// A call that went nowhere leaves a record, too.
    fn write_refused_call(&mut self, now: Instant, line: &Arc<Line>, call: &NewCall<'_>, refusal: &Refusal) {
        let is_outside = crate::dial_plan::dialled(call.uri)
            .is_some_and(|number| self.settings.dial_plan.external(&number).is_some());
        let direction = if is_outside { Direction::Outbound } else { Direction::Internal };
        let record = self.new_record(now, line, call, direction);
        let reason = if refusal.reason.is_empty() { refusal.status.reason() } else { refusal.reason };
        let record = CallRecord {
            id: self.ids.call_id(),
            ended_at: Some(record.started_at),
            result: result_of(refusal.status),
            status: Some(refusal.status.code()),
            reason: reason.to_owned(),
            ended_by: Some(EndedBy::Platform),
            ..record
        };
        self.write_record(record);
    }
}

/// What is known of a new request when it is routed.
struct NewCall<'a> {
    server: ServerId,
    method: &'a Method,
    valid: &'a Valid,
    message: &'a Message,
    flow: Flow,
    uri: &'a Uri,
    calls_for_help: bool,
}

/// Whether a request outside a dialog can begin one, so that we want to stay in it (RFC 3261 §16.6, step 4).
pub(crate) fn makes_dialog(method: &Method) -> bool {
    matches!(method, Method::Invite | Method::Subscribe | Method::Refer | Method::Notify)
}

/// What we take for ourselves.
const OWN_METHODS: &str = "REGISTER, OPTIONS, SUBSCRIBE";
/// What we understand of extensions, as registrar and as proxy.
const OWN_EXTENSIONS: &str = "path, outbound, gruu, timer, 199";
