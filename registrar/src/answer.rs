//! What a REGISTER is answered.

use std::time::Duration;

use schema::{Binding, Line};
use sip_core::flow::Transport;
use sip_core::ids::IdSource;
use sip_core::wire::header::NameAddr;
use sip_core::wire::{Builder, HostPort, Message, Name, Params, SipUri, StatusCode};

use crate::Registrar;
use crate::asked::Malformed;
use crate::register::SUPPORTED;

/// Why a REGISTER changes nothing.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Refusal {
    BadRequest(&'static str),
    BadExtension(String),
    TooBrief,
    Outdated,
    TooMany,
    /// A contact that is the line's own GRUU.
    Circle,
    LacksOutbound,
}

impl From<Malformed> for Refusal {
    fn from(malformed: Malformed) -> Self {
        match malformed {
            Malformed::Reason(reason) => Refusal::BadRequest(reason),
            Malformed::LacksOutbound => Refusal::LacksOutbound,
        }
    }
}

impl Registrar {
    /// 200 with every current binding (RFC 3261 §10.3, step 8), and what the extensions add to it.
    pub(crate) fn answer(
        &self,
        unix_now: Duration,
        request: &Message,
        line: &Line,
        ids: &mut IdSource,
    ) -> Message {
        let aor = self.aor(line).filter(|_| crate::asked::supports(request, "gruu"));
        let bindings = self.locations.lookup(line.id, unix_now);
        let mut builder = Builder::response_to(request, StatusCode::OK, None, Some(&ids.tag()));
        for binding in &bindings {
            let Ok(uri) = binding.uri().parse() else { continue };
            let mut params = Params::default();
            if binding.q < 1000 {
                params.set("q", Some(&format!("0.{:03}", binding.q)));
            }
            let left = binding.expires_at - unix_now.as_secs() as i64;
            params.set("expires", Some(&left.to_string()));
            if let Some(instance) = &binding.instance {
                params.set("+sip.instance", Some(instance));
            }
            if let Some(number) = binding.reg_id {
                params.set("reg-id", Some(&number.to_string()));
            }
            if let Some(aor) = &aor {
                self.add_gruus(&mut params, aor, binding, ids);
            }
            builder = builder.header(Name::Contact, NameAddr { display: None, uri, params });
        }
        // RFC 5626 §6: the phone learns that its flow is one, and how often it shall give a sign of life.
        let own = |binding: &Binding| binding.is_flow() && request.call_id() == Ok(binding.call_id.as_str());
        if let Some(flow) = bindings.iter().find(|binding| own(binding)) {
            builder = builder.header(Name::Require, "outbound");
            if !flow.received.starts_with(Transport::Udp.as_str()) {
                builder = builder.header(Name::Other("Flow-Timer"), self.settings.flow_timer.as_secs());
            }
        }
        // RFC 3608 §6.3: by which way the phone's requests come.
        for route in &self.settings.service_route {
            builder = builder.header(Name::ServiceRoute, route);
        }
        // RFC 3327 §5.3: the phone learns which path was stored.
        builder.copy(request, Name::Path).header(Name::Supported, SUPPORTED.join(", ")).finish()
    }

    pub(crate) fn refuse(&self, request: &Message, refusal: Refusal, ids: &mut IdSource) -> Message {
        let tag = ids.tag();
        let response = |status, reason| Builder::response_to(request, status, reason, Some(&tag));
        match refusal {
            Refusal::BadRequest(reason) => response(StatusCode::BAD_REQUEST, Some(reason)),
            Refusal::BadExtension(tag) => {
                response(StatusCode::BAD_EXTENSION, None).header(Name::Unsupported, tag)
            }
            Refusal::TooBrief => response(StatusCode::INTERVAL_TOO_BRIEF, None)
                .header(Name::MinExpires, self.settings.min_expires.as_secs()),
            Refusal::Outdated => response(StatusCode::SERVER_INTERNAL_ERROR, Some("CSeq is out of order")),
            Refusal::TooMany => response(StatusCode::FORBIDDEN, Some("Too many bindings")),
            Refusal::Circle => response(StatusCode::FORBIDDEN, Some("A Contact leads back to the line")),
            Refusal::LacksOutbound => response(StatusCode::FIRST_HOP_LACKS_OUTBOUND, None),
        }
        .finish()
    }

    /// The address-of-record of a line: its extension at its site.
    pub fn aor(&self, line: &Line) -> Option<SipUri> {
        let site = self.directory.site(line.site)?;
        Some(SipUri::new(Some(&line.extension), HostPort::parse(&site.domain).ok()?))
    }

    /// RFC 5627 §5.2.
    fn add_gruus(&self, params: &mut Params, aor: &SipUri, binding: &Binding, ids: &mut IdSource) {
        let Some(public) = binding.instance.as_deref().and_then(|own| self.settings.gruu.public(aor, own))
        else {
            return;
        };
        params.set("pub-gruu", Some(&format!("\"{public}\"")));
        if let Some(temporary) = self.settings.gruu.temporary(aor, binding, ids) {
            params.set("temp-gruu", Some(&format!("\"{temporary}\"")));
        }
    }
}

/// 503: nothing was stored, and the phone shall come back soon.
pub(crate) fn unavailable(request: &Message, ids: &mut IdSource) -> Message {
    // Spread, so that the phones of a site do not all come back in the same second.
    let retry_after = 5 + ids.next_u64() % 10;
    Builder::response_to(request, StatusCode::SERVICE_UNAVAILABLE, None, Some(&ids.tag()))
        .header(Name::RetryAfter, retry_after)
        .finish()
}
