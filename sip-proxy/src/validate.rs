//! Whether a request may be looked at at all (RFC 3261 §16.3).

use sip_core::wire::header::{MaxBreadth, MaxForwards, ProxyRequire, TokenList};
use sip_core::wire::{Message, Method, StatusCode, Uri};

use crate::loop_detection::LoopHash;
use crate::refusal::Refusal;

/// What validation found out.
#[derive(Debug)]
pub(crate) struct Valid {
    /// What marks our branch, should the request be forwarded.
    pub(crate) hash: LoopHash,
    /// Hops left for those after us; `None` when there are none left for us.
    pub(crate) max_forwards: Option<u32>,
}

/// Checks scheme, loops and Proxy-Require; reads Max-Forwards, which only matters when the request is forwarded.
pub(crate) fn validate(request: &Message) -> Result<Valid, Refusal> {
    let uri =
        request.request_uri().map_err(|_| Refusal::new(StatusCode::BAD_REQUEST, "Malformed Request-URI"))?;
    match &uri {
        // There is no TLS yet: a promise of security all the way (RFC 3261 §26.2.2) cannot be kept.
        Uri::Sip(sip) if !sip.secure => {}
        Uri::Tel(_) => {}
        _ => return Err(Refusal::new(StatusCode::UNSUPPORTED_URI_SCHEME, "")),
    }
    let hash = LoopHash::of(request);
    if hash.is_loop(request) {
        return Err(Refusal::new(StatusCode::LOOP_DETECTED, ""));
    }
    let required: Vec<String> =
        request.all::<ProxyRequire>().flatten().map(|tag| tag.token().to_owned()).collect();
    // RFC 3261 §16.3, step 5. A CANCEL or ACK could not be refused like this, but those never come here.
    if !required.is_empty() {
        return Err(Refusal::unsupported(&required));
    }
    let max_forwards = match request.header::<MaxForwards>()? {
        Some(MaxForwards(hops)) => hops.min(MAX_FORWARDS).checked_sub(1),
        None => Some(MAX_FORWARDS),
    };
    Ok(Valid { hash, max_forwards })
}

/// How many places may be tried at once, where the request says it (RFC 5393 §5.3.3).
pub(crate) fn max_breadth(request: &Message) -> Result<Option<u32>, Refusal> {
    match request.header::<MaxBreadth>()? {
        Some(MaxBreadth(0)) => Err(Refusal::new(StatusCode::MAX_BREADTH_EXCEEDED, "")),
        breadth => Ok(breadth.map(|breadth| breadth.0)),
    }
}

/// The methods that the proxy takes as its own server.
pub(crate) fn is_known(method: &Method) -> bool {
    !matches!(method, Method::Other(_))
}

/// RFC 3261 §16.6, step 3.
const MAX_FORWARDS: u32 = 70;

#[cfg(test)]
mod tests {
    use sip_core::wire::{Builder, Name};

    use super::*;

    fn outcome(uri: &str, headers: &[(Name, &str)]) -> Result<Option<u32>, u16> {
        let builder = Builder::request(&Method::Invite, uri).header(Name::CallId, "1");
        let builder = headers.iter().fold(builder, |builder, (name, value)| builder.header(*name, value));
        validate(&builder.finish()).map(|valid| valid.max_forwards).map_err(|refusal| refusal.status.code())
    }

    /// RFC 3261 §16.3: scheme (416), Max-Forwards (483) and Proxy-Require (420) are checked before a request is routed.
    #[test]
    fn checks_as_the_rfc_says() {
        assert_eq!(outcome("sip:a@b", &[]), Ok(Some(70)));
        assert_eq!(outcome("tel:110", &[(Name::MaxForwards, "5")]), Ok(Some(4)));
        assert_eq!(outcome("sip:a@b", &[(Name::MaxForwards, "0")]), Ok(None));
        assert_eq!(outcome("sip:a@b", &[(Name::MaxForwards, "4294967295")]), Ok(Some(69)));
        assert_eq!(outcome("sip:a@b", &[(Name::MaxForwards, "x")]), Err(400));
        assert_eq!(outcome("sips:a@b", &[]), Err(416));
        assert_eq!(outcome("http://a", &[]), Err(416));
        assert_eq!(outcome("nonsense", &[]), Err(400));
        assert_eq!(outcome("sip:a@b", &[(Name::ProxyRequire, "foo")]), Err(420));
    }
}
