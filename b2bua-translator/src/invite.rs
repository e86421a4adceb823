//! The INVITE to the called side: written from nothing, so that only what is named here can leave the caller's side.

use sip_core::wire::header::MaxForwards;
use sip_core::wire::{Host, HostPort, Message, Name, SipUri};

use crate::env::Env;
use crate::identity::{Identity, OutsideCaller, Party};
use crate::leg::{Leg, RELIABLE, supported, with_sdp};
use crate::trunks::Candidate;

/// Writes the INVITE for a leg, with the body that stands there. `number`: its CSeq. `reliable`: whether a provisional response may be
/// reliable, so that an offer in it could be answered.
pub(crate) fn compose(
    env: &mut Env,
    leg: &Leg,
    original: &Message,
    (uri, number): (&str, u32),
    identity: &Identity,
    reliable: bool,
) -> Message {
    let hops = original.header::<MaxForwards>().ok().flatten().map_or(70, |hops| hops.0.min(70));
    let more = if reliable { format!("{RELIABLE}, ") } else { String::new() };
    let mut builder = leg
        .first_invite(env, uri, identity.from.clone(), hops.saturating_sub(1), number)
        .header(Name::Supported, format_args!("{more}{}", supported(leg.peering)))
        .header_if(Name::PAssertedIdentity, identity.asserted.as_ref());
    if identity.private {
        builder = builder.header(Name::Privacy, "id");
    }
    for name in PASSED {
        builder = builder.copy(original, name);
    }
    with_sdp(builder, leg.said.clone()).finish()
}

/// What the called side is told: the Request-URI, and who calls.
pub(crate) fn toward(party: &Party, number: &str, candidate: &Candidate) -> (String, Identity) {
    let host = match &candidate.host {
        Some(named) => HostPort { host: Host::Name(named.host.clone()), port: named.port },
        None => HostPort::from(candidate.gateway.address),
    };
    match (party, &candidate.trunk) {
        (Party::Inside(caller), Some((trunk, route))) => {
            let number = candidate.number.clone().unwrap_or_else(|| route.rewrite(number));
            let mut uri = SipUri::new(Some(&number), host);
            uri.params.set("user", Some("phone"));
            (uri.to_string(), caller.toward_trunk(trunk, candidate.face))
        }
        (Party::Outside(caller), _) => {
            (SipUri::new(Some(number), host).to_string(), caller.toward_proxy(candidate.face))
        }
        // Not made: an inside call has trunks for candidates. It would be shown nothing of the caller.
        (Party::Inside(_), None) => {
            let nobody = OutsideCaller::unknown().toward_proxy(candidate.face);
            (SipUri::new(Some(number), host).to_string(), nobody)
        }
    }
}

/// Headers of the caller's INVITE that pass as they are: they speak to the called party and of nothing inside.
const PASSED: [Name; 3] = [Name::Subject, Name::Other("Priority"), Name::Other("Alert-Info")];
