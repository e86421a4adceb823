//! Session timers, as a proxy takes part in them (RFC 4028 §8): sessions whose end nobody told do not stay for ever.

use std::time::Duration;

use sip_core::wire::header::{MinSe, Refresher, SessionExpires, Supported, TokenList};
use sip_core::wire::{HeaderError, Message, Method, Name, StatusCode};

use crate::refusal::Refusal;

/// What the carrier wants of session intervals.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SessionPolicy {
    /// The interval that we ask for where a request names none, and to which a longer one is lowered; `None` leaves all as it is.
    pub interval: Option<Duration>,
    /// The shortest interval that we let pass; 90 s at least (RFC 4028 §5).
    pub shortest: Duration,
}

impl Default for SessionPolicy {
    fn default() -> Self {
        SessionPolicy { interval: Some(Duration::from_secs(1800)), shortest: Duration::from_secs(90) }
    }
}

/// What we made of a request's session timer; needed again for its response.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct SessionTimer {
    /// The interval that goes downstream, in seconds.
    interval: u32,
    /// Whether the client can refresh.
    client_refreshes: bool,
}

/// What to write into a request.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Change {
    session_expires: Option<SessionExpires>,
    min_se: Option<MinSe>,
}

impl SessionPolicy {
    /// Looks at an INVITE or UPDATE on its way (RFC 4028 §8.1). 422 for an interval that is too short, when the client can try a longer one.
    pub(crate) fn of_request(&self, request: &Message) -> Result<(Option<SessionTimer>, Change), Refusal> {
        let mut change = Change::default();
        let (Some(interval), Some(Method::Invite | Method::Update)) = (self.interval, request.method())
        else {
            return Ok((None, change));
        };
        let client_refreshes = supports_timer(request);
        let asked = request.header::<SessionExpires>()?;
        let min_se = request.header::<MinSe>()?.map_or(0, |min| min.seconds);
        let shortest = seconds(self.shortest);
        let wanted = seconds(interval).max(shortest).max(min_se);
        let interval = match asked {
            Some(asked) if asked.seconds < shortest && client_refreshes => {
                let refusal = Refusal::new(StatusCode::SESSION_INTERVAL_TOO_SMALL, "");
                return Err(refusal.with(Name::MinSe, MinSe::new(shortest.max(min_se))));
            }
            // A client that would not understand a 422 gets a longer interval, and so does whoever comes behind us.
            Some(asked) if asked.seconds < shortest => {
                change.min_se = Some(MinSe::new(shortest.max(min_se)));
                change.session_expires = Some(SessionExpires { seconds: shortest.max(min_se), ..asked });
                shortest.max(min_se)
            }
            Some(asked) if asked.seconds > wanted => {
                change.session_expires = Some(SessionExpires { seconds: wanted, ..asked });
                wanted
            }
            Some(asked) => asked.seconds,
            None => {
                change.session_expires = Some(SessionExpires::new(wanted, None));
                wanted
            }
        };
        Ok((Some(SessionTimer { interval, client_refreshes }), change))
    }
}

impl Change {
    /// The request with what changes.
    pub(crate) fn apply(self, request: Message) -> Message {
        if self == Change::default() {
            return request;
        }
        let mut edit = request.edit();
        if let Some(expires) = self.session_expires {
            edit.set(Name::SessionExpires, expires);
        }
        if let Some(min_se) = self.min_se {
            edit.set(Name::MinSe, min_se);
        }
        edit.finish()
    }
}

impl SessionTimer {
    /// The 2xx as it goes upstream (RFC 4028 §8.2): where the server knows no session timer and the client does, the client refreshes.
    pub(crate) fn of_response(self, response: Message) -> Message {
        let answered = response.status().is_some_and(|status| status.is_success());
        if !answered || !self.client_refreshes || response.has(Name::SessionExpires) {
            return response;
        }
        let mut edit = response.edit();
        edit.set(Name::SessionExpires, SessionExpires::new(self.interval, Some(Refresher::Uac)));
        edit.append(Name::Require, "timer");
        edit.finish()
    }
}

/// How long the session of this 2xx lives without a refresh; `None` when it has no such end.
pub(crate) fn lifetime(response: &Message) -> Option<Duration> {
    let expires: Result<Option<SessionExpires>, HeaderError> = response.header();
    Some(Duration::from_secs(expires.ok()??.seconds.into()))
}

fn supports_timer(request: &Message) -> bool {
    request.all::<Supported>().flatten().any(|tag| tag.is("timer"))
}

fn seconds(span: Duration) -> u32 {
    u32::try_from(span.as_secs()).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use sip_core::wire::Builder;

    use super::*;

    fn request(method: &Method, headers: &[(Name, &str)]) -> Message {
        let builder = Builder::request(method, "sip:a@b");
        headers.iter().fold(builder, |builder, (name, value)| builder.header(*name, value)).finish()
    }

    /// Session-Expires and Min-SE as they go downstream, or the status and Min-SE of the refusal.
    type Outcome = Result<(Option<String>, Option<String>), (u16, String)>;

    fn forwarded(method: &Method, headers: &[(Name, &str)]) -> Outcome {
        let request = request(method, headers);
        match SessionPolicy::default().of_request(&request) {
            Ok((_, change)) => {
                let changed = change.apply(request);
                let text = |name| changed.text(name).map(str::to_owned);
                Ok((text(Name::SessionExpires), text(Name::MinSe)))
            }
            Err(refusal) => Err((refusal.status.code(), refusal.headers[0].1.clone())),
        }
    }

    fn asked(headers: &[(Name, &str)]) -> Outcome {
        forwarded(&Method::Invite, headers)
    }

    fn interval(text: &str) -> Outcome {
        Ok((Some(text.to_owned()), None))
    }

    /// RFC 4028 §8.1: a proxy may put a Session-Expires into a request that has none.
    /// RFC 4028 §8.1: a proxy may lower a Session-Expires, but not below Min-SE.
    #[test]
    fn an_interval_is_put_in_or_lowered() {
        assert_eq!(asked(&[]), interval("1800"));
        assert_eq!(asked(&[(Name::SessionExpires, "7200;refresher=uac")]), interval("1800;refresher=uac"));
        assert_eq!(asked(&[(Name::SessionExpires, "300")]), interval("300"));
        let both = asked(&[(Name::SessionExpires, "7200"), (Name::MinSe, "3600")]);
        assert_eq!(both, Ok((Some("3600".into()), Some("3600".into()))));
        assert_eq!(asked(&[(Name::MinSe, "2000")]), Ok((Some("2000".into()), Some("2000".into()))));
        assert_eq!(forwarded(&Method::Update, &[]), interval("1800"));
        assert_eq!(forwarded(&Method::Message, &[]), Ok((None, None)));
        let nonsense = request(&Method::Invite, &[(Name::SessionExpires, "soon")]);
        assert_eq!(SessionPolicy::default().of_request(&nonsense).unwrap_err().status.code(), 400);
    }

    /// RFC 4028 §8.1: an interval that is too short is refused with 422 and Min-SE.
    /// RFC 4028 §8.1: a client without the extension is never refused so; its interval is raised.
    #[test]
    fn a_short_interval() {
        let short = [(Name::SessionExpires, "30"), (Name::Supported, "100rel, timer")];
        assert_eq!(asked(&short), Err((422, "90".into())));
        assert_eq!(asked(&short[..1]), Ok((Some("90".into()), Some("90".into()))));
        let min_se = [short[0], short[1], (Name::MinSe, "120")];
        assert_eq!(asked(&min_se), Err((422, "120".into())));
    }

    /// RFC 4028 §8.2: when only the client knows session timers, the proxy tells it to refresh.
    #[test]
    fn the_client_refreshes_when_the_server_cannot() {
        let policy = SessionPolicy::default();
        let able = request(&Method::Invite, &[(Name::Supported, "timer")]);
        let timer = policy.of_request(&able).unwrap().0.unwrap();
        let ok = |headers: &[(Name, &str)]| {
            let builder = Builder::response(StatusCode::OK, None);
            headers.iter().fold(builder, |builder, (name, value)| builder.header(*name, value)).finish()
        };
        let told = timer.of_response(ok(&[]));
        assert_eq!(told.text(Name::SessionExpires), Some("1800;refresher=uac"));
        assert_eq!(told.text(Name::Require), Some("timer"));
        assert_eq!(lifetime(&told), Some(Duration::from_secs(1800)));
        // What the server has decided stands.
        let own = ok(&[(Name::SessionExpires, "600;refresher=uas")]);
        assert_eq!(timer.of_response(own.clone()).bytes(), own.bytes());
        let busy = Builder::response(StatusCode::BUSY_HERE, None).finish();
        assert!(!timer.of_response(busy).has(Name::SessionExpires));
        // Nobody could refresh.
        let unable = policy.of_request(&request(&Method::Invite, &[])).unwrap().0.unwrap();
        assert!(!unable.of_response(ok(&[])).has(Name::SessionExpires));
        assert_eq!(lifetime(&ok(&[])), None);
    }

    #[test]
    fn switched_off_it_leaves_everything_as_it_is() {
        let policy = SessionPolicy { interval: None, ..SessionPolicy::default() };
        let short = request(&Method::Invite, &[(Name::SessionExpires, "30"), (Name::Supported, "timer")]);
        assert_eq!(policy.of_request(&short).unwrap(), (None, Change::default()));
    }
}
