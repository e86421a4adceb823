//! Who may speak: digest policy, and the site's prefix as the second factor.

use std::sync::Arc;
use std::time::Duration;

use node::telemetry::Mask;
use schema::{Directory, Line};
use sip_core::auth::{Algorithm, Digest, Ha1, Verdict};
use sip_core::flow::Flow;
use sip_core::ids::IdSource;
use sip_core::wire::header::{Authorization, Challenge, Credentials, ProxyAuthorization};
use sip_core::wire::{Message, StatusCode};

/// Decides on each request who sent it. One a worker, because the nonce-count window is the worker's own.
#[derive(Debug)]
pub struct Gatekeeper {
    digest: Digest,
    algorithms: Vec<Algorithm>,
    directory: Arc<Directory>,
    mask: Mask,
}

/// As whom we ask for credentials.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// As the server that the request is for: 401, WWW-Authenticate, Authorization.
    Server,
    /// As a proxy on the way: 407, Proxy-Authenticate, Proxy-Authorization.
    Proxy,
}

/// What the gatekeeper says.
#[derive(Debug)]
pub enum Admission {
    /// The request is this line's.
    Admitted(Arc<Line>),
    /// Ask again with these challenges, one header each.
    Challenged(Vec<Challenge>),
    /// No, and why.
    Refused(StatusCode, &'static str),
    /// The credentials are this line's, but it may not be used from there: 403 with [`OUTSIDE`], and worth a [`Sighting`](schema::Sighting).
    Elsewhere(Arc<Line>),
}

/// Why a line is refused outside its site.
pub const OUTSIDE: &str = "Address is outside the site's prefix";

impl Gatekeeper {
    /// A gatekeeper that offers `algorithms` in this order, and whose log lines hide what `mask` says.
    pub fn new(
        digest: Digest,
        algorithms: Vec<Algorithm>,
        directory: Arc<Directory>,
        mask: Mask,
    ) -> Gatekeeper {
        Gatekeeper { digest, algorithms, directory, mask }
    }

    /// Decides on a request.
    ///
    /// An unknown user and a wrong password get the same answer, so that nobody learns which lines exist.
    pub fn admit(
        &mut self,
        unix_now: Duration,
        request: &Message,
        flow: &Flow,
        kind: Kind,
        ids: &mut IdSource,
    ) -> Admission {
        let (Some(method), Some((credentials, user))) = (request.method(), self.credentials(request, kind))
        else {
            return self.challenge(unix_now, false, ids);
        };
        let line = self.directory.line_by_auth_user(&user);
        // Nobody answers a strong challenge in a weak algorithm, and an unknown user costs the same arithmetic as a known one.
        let algorithms = &self.algorithms;
        let ha1 = |algorithm| ha1_of(line.as_deref().filter(|_| algorithms.contains(&algorithm))?, algorithm);
        let verdict = self.digest.verify(unix_now, method, request.request_uri_text(), &credentials, ha1);
        match (verdict, line) {
            (Verdict::Accepted, Some(line)) => self.check_source(line, flow),
            (Verdict::Stale, _) => self.challenge(unix_now, true, ids),
            (Verdict::Malformed(reason), _) => Admission::Refused(StatusCode::BAD_REQUEST, reason),
            (Verdict::Accepted | Verdict::Wrong, _) => {
                metrics::counter!("centrex6_auth_failures_total", "reason" => "credentials").increment(1);
                let (user, source) = (self.mask.number(&user), self.mask.addr(flow.remote));
                tracing::info!(%user, %source, "wrong credentials");
                Admission::Refused(StatusCode::FORBIDDEN, "Wrong user name or password")
            }
        }
    }

    /// A line is accepted from its site's prefix, or from everywhere when it is allowed so.
    fn check_source(&self, line: Arc<Line>, flow: &Flow) -> Admission {
        let prefix = self.directory.site(line.site).and_then(|site| site.prefix);
        let inside = match (prefix, flow.remote.ip()) {
            (None, _) => true,
            (Some(prefix), std::net::IpAddr::V6(source)) => prefix.contains(&source),
            (Some(_), std::net::IpAddr::V4(_)) => false,
        };
        if inside || line.anywhere {
            return Admission::Admitted(line);
        }
        metrics::counter!("centrex6_auth_failures_total", "reason" => "outside_prefix").increment(1);
        tracing::info!(
            user = %self.mask.number(&line.auth_user),
            source = %self.mask.addr(flow.remote),
            "the source is outside the site's prefix"
        );
        Admission::Elsewhere(line)
    }

    fn challenge(&mut self, unix_now: Duration, stale: bool, ids: &mut IdSource) -> Admission {
        Admission::Challenged(self.digest.challenges(unix_now, &self.algorithms, stale, ids))
    }

    /// The credentials that were made for our realm, and their user name. Others are for other proxies (RFC 3261 §22.3).
    fn credentials(&self, request: &Message, kind: Kind) -> Option<(Credentials, String)> {
        let ours = |credentials: Credentials| {
            let user = self.digest.username(&credentials)?;
            Some((credentials, user))
        };
        match kind {
            Kind::Server => request.all::<Authorization>().flatten().find_map(|header| ours(header.0)),
            Kind::Proxy => request.all::<ProxyAuthorization>().flatten().find_map(|header| ours(header.0)),
        }
    }
}

fn ha1_of(line: &Line, algorithm: Algorithm) -> Option<Ha1> {
    Ha1::from_hex(match algorithm {
        Algorithm::Md5 => line.ha1.md5(),
        Algorithm::Sha256 => line.ha1.sha256(),
        Algorithm::Sha512_256 => line.ha1.sha512_256(),
    })
}
