//! The server's side: challenging and verifying.

use std::time::Duration;

use super::nonce::{Nonce, Signer};
use super::window::Window;
use super::{Algorithm, Answer, Ha1, NonceKey};
use crate::flow::Transport;
use crate::ids::{IdSource, WorkerId};
use crate::wire::header::{Challenge, Credentials};
use crate::wire::{Method, Params, SipUri, Uri, lex};

/// How a [`Digest`] behaves.
#[derive(Debug, Clone)]
pub struct DigestSettings {
    /// The platform's realm.
    pub realm: String,
    /// The algorithms offered where a challenge names none, in order of preference.
    pub algorithms: Vec<Algorithm>,
    /// Signs nonces; the same on all nodes.
    pub key: NonceKey,
    /// This node, as nonces name it.
    pub node: u16,
    /// This worker, as nonces name it.
    pub worker: WorkerId,
    /// How long a nonce can be used.
    pub nonce_lifetime: Duration,
    /// Of how many nonces the counts are remembered.
    pub window: usize,
    /// Whether clients of RFC 2069 are served, which know no qop. Each of their nonces then serves one request.
    pub without_qop: bool,
}

impl DigestSettings {
    /// MD5 alone, nonces of five minutes, 16,384 remembered nonces, qop demanded.
    pub fn new(realm: impl Into<String>, key: NonceKey, node: u16, worker: WorkerId) -> DigestSettings {
        DigestSettings {
            realm: realm.into(),
            algorithms: vec![Algorithm::Md5],
            key,
            node,
            worker,
            nonce_lifetime: Duration::from_secs(300),
            window: 16_384,
            without_qop: false,
        }
    }
}

/// What became of credentials.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// Right, and used for the first time.
    Accepted,
    /// Not to be judged: the nonce has expired, was issued elsewhere or is forgotten, or its count has been used.
    /// Challenge again with `stale=true`, which makes the client try again without asking anybody.
    Stale,
    /// The response is wrong, the user has no secret for the algorithm, or the client knows no qop where we demand it.
    /// Challenge again, without `stale`.
    Wrong,
    /// The credentials make no sense; says why.
    Malformed(&'static str),
}

/// Challenges and verifies for one worker.
#[derive(Debug)]
pub struct Digest {
    settings: DigestSettings,
    signer: Signer,
    window: Window,
    /// Tells this run's nonces from those of earlier runs; drawn with the first challenge.
    run: Option<u32>,
}

impl Digest {
    /// A server that has challenged nobody yet.
    pub fn new(settings: DigestSettings) -> Digest {
        let signer = Signer::new(&settings.key, &settings.realm);
        let window = Window::new(settings.window);
        Digest { settings, signer, window, run: None }
    }

    /// The realm that we challenge for.
    pub fn realm(&self) -> &str {
        &self.settings.realm
    }

    /// One challenge for each algorithm, in the order given, the order of preference (RFC 8760 §2.4); those of the settings where
    /// none is given. All carry the same new nonce.
    pub fn challenges(
        &mut self,
        unix_now: Duration,
        algorithms: &[Algorithm],
        stale: bool,
        ids: &mut IdSource,
    ) -> Vec<Challenge> {
        let run = *self.run.get_or_insert_with(|| ids.next_u64() as u32);
        let nonce = self.signer.seal(Nonce {
            issued: millis(unix_now),
            node: self.settings.node,
            worker: self.settings.worker,
            run,
            random: ids.next_u64(),
        });
        let algorithms = if algorithms.is_empty() { &self.settings.algorithms } else { algorithms };
        let challenge = |algorithm: &Algorithm| {
            let mut params = Params::default()
                .with("realm", Some(&lex::quote(&self.settings.realm)))
                .with("nonce", Some(&lex::quote(&nonce)));
            if stale {
                params.set("stale", Some("true"));
            }
            params.set("algorithm", Some(algorithm.token()));
            params.set("qop", Some("\"auth\""));
            Challenge { scheme: "Digest".to_owned(), params }
        };
        algorithms.iter().map(challenge).collect()
    }

    /// Judges credentials. A right response uses up its nonce count.
    ///
    /// `request_uri` is the request's own, which the `uri` parameter must name. `ha1` gives the secret of the user whom the credentials
    /// name, for the algorithm that they name: `None` when there is no such user, or when the algorithm is not one that was offered
    /// to that user, so that nobody answers a strong challenge in a weak algorithm.
    pub fn verify(
        &mut self,
        unix_now: Duration,
        method: &Method,
        request_uri: &str,
        credentials: &Credentials,
        ha1: impl Fn(Algorithm) -> Option<Ha1>,
    ) -> Verdict {
        let shown = match Shown::read(credentials) {
            Ok(shown) => shown,
            Err(reason) => return Verdict::Malformed(reason),
        };
        if !same_target(&shown.uri, request_uri) {
            return Verdict::Malformed("the uri parameter is not the Request-URI");
        }
        if shown.realm != self.settings.realm || shown.count.is_none() && !self.settings.without_qop {
            return Verdict::Wrong;
        }
        let Some(nonce) = self.own_nonce(unix_now, &shown.nonce) else {
            return Verdict::Stale;
        };
        let known = ha1(shown.algorithm);
        let nobody = || Ha1::nobody(shown.algorithm);
        let answer = Answer {
            method,
            uri: &shown.uri,
            nonce: &shown.nonce,
            count: shown.count.as_ref().map(|count| (count.nc.as_str(), count.cnonce.as_str())),
        };
        let secret = known.clone().unwrap_or_else(nobody);
        match answer.matches(shown.algorithm, &secret, &shown.response) {
            None => Verdict::Malformed("the response has not the algorithm's length"),
            Some(right) if !right || known.is_none() => Verdict::Wrong,
            Some(_) => {
                let oldest = unix_now.saturating_sub(self.settings.nonce_lifetime);
                self.window.expire(millis(oldest));
                // Without qop there is no count: the nonce serves once.
                let count = shown.count.map_or(u32::MAX, |count| count.number);
                match self.window.note((nonce.issued, nonce.random), count) {
                    true => Verdict::Accepted,
                    false => Verdict::Stale,
                }
            }
        }
    }

    /// The user whom the credentials name, when their scheme is Digest and their realm ours.
    pub fn username(&self, credentials: &Credentials) -> Option<String> {
        let ours = credentials.is_digest() && credentials.value("realm").as_deref() == Some(self.realm());
        credentials.value("username").filter(|_| ours)
    }

    /// How many nonces are remembered, for a gauge.
    pub fn remembered(&self) -> usize {
        self.window.len()
    }

    /// The nonce, when this run of this worker issued it and it has not expired.
    fn own_nonce(&self, unix_now: Duration, text: &str) -> Option<Nonce> {
        let nonce = self.signer.open(text)?;
        let ours = nonce.node == self.settings.node
            && nonce.worker == self.settings.worker
            && Some(nonce.run) == self.run;
        (ours && nonce.age(unix_now) <= self.settings.nonce_lifetime).then_some(nonce)
    }
}

/// The parameters that matter, quotes undone.
struct Shown {
    algorithm: Algorithm,
    realm: String,
    nonce: String,
    uri: String,
    response: String,
    /// `None` without qop.
    count: Option<Count>,
}

struct Count {
    nc: String,
    number: u32,
    cnonce: String,
}

impl Shown {
    fn read(credentials: &Credentials) -> Result<Shown, &'static str> {
        if !credentials.is_digest() {
            return Err("the scheme is not Digest");
        }
        let value = |name, reason| credentials.value(name).ok_or(reason);
        let algorithm = match credentials.value("algorithm") {
            // RFC 7616 §3.3: MD5 where nothing is said.
            None => Algorithm::Md5,
            Some(token) => Algorithm::from_token(&token).ok_or("the algorithm is none that we offer")?,
        };
        let count = match credentials.value("qop") {
            None => None,
            Some(qop) if qop.eq_ignore_ascii_case("auth") => {
                let nc = value("nc", "nc is missing")?;
                let number = read_count(&nc).ok_or("nc is no count")?;
                Some(Count { nc, number, cnonce: value("cnonce", "cnonce is missing")? })
            }
            Some(_) => return Err("the qop is none that we offer"),
        };
        Ok(Shown {
            algorithm,
            realm: value("realm", "the realm is missing")?,
            nonce: value("nonce", "the nonce is missing")?,
            uri: value("uri", "the uri is missing")?,
            response: value("response", "the response is missing")?,
            count,
        })
    }
}

/// Eight hexadecimal digits, from 1 (RFC 7616 §3.4); fewer are tolerated.
fn read_count(nc: &str) -> Option<u32> {
    let digits = (1..=8).contains(&nc.len()) && nc.bytes().all(|byte| byte.is_ascii_hexdigit());
    let count = digits.then(|| u32::from_str_radix(nc, 16).ok()).flatten()?;
    (count > 0).then_some(count)
}

/// Whether both name the same target. Phones write the `uri` parameter with or without default port and transport, so
/// user, host, port and `maddr` count and other parameters do not.
fn same_target(shown: &str, request_uri: &str) -> bool {
    if shown == request_uri {
        return true;
    }
    match (shown.parse(), request_uri.parse()) {
        (Ok(Uri::Sip(one)), Ok(Uri::Sip(two))) => {
            one.secure == two.secure
                && one.user() == two.user()
                && one.host_port.host == two.host_port.host
                && port(&one) == port(&two)
                && one.params.value("maddr") == two.params.value("maddr")
        }
        (Ok(one), Ok(two)) => one == two,
        _ => false,
    }
}

fn port(uri: &SipUri) -> u16 {
    let default = if uri.secure { Transport::Tls } else { Transport::Udp }.default_port();
    uri.host_port.port.unwrap_or(default)
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::auth::ha1;
    use crate::wire::Header;
    use crate::wire::header::{Authorization, WwwAuthenticate};

    const NOW: Duration = Duration::from_secs(1_790_000_000);
    const URI: &str = "sip:c6.example.net";

    struct Client {
        algorithm: Algorithm,
        user: &'static str,
        password: &'static str,
        uri: &'static str,
        qop: bool,
    }

    impl Default for Client {
        fn default() -> Self {
            Client { algorithm: Algorithm::Md5, user: "s042-101", password: "secret", uri: URI, qop: true }
        }
    }

    impl Client {
        fn answer(&self, challenge: &Challenge, nc: u32) -> Credentials {
            let (realm, nonce) = (challenge.value("realm").unwrap(), challenge.value("nonce").unwrap());
            let nc = format!("{nc:08x}");
            let answer = Answer {
                method: &Method::Register,
                uri: self.uri,
                nonce: &nonce,
                count: self.qop.then_some((&nc, "k\"1")),
            };
            let secret = ha1(self.algorithm, self.user, &realm, self.password);
            let mut text = format!(
                "Digest username=\"{}\",realm=\"{realm}\",nonce=\"{nonce}\",uri=\"{}\",response={},algorithm={}",
                self.user,
                self.uri,
                answer.response(self.algorithm, &secret),
                self.algorithm,
            );
            if self.qop {
                text.push_str(&format!(",qop=auth,nc={nc},cnonce=\"k\\\"1\""));
            }
            Authorization::parse(&text).unwrap().0
        }
    }

    fn settings() -> DigestSettings {
        DigestSettings::new("c6", NonceKey::new([9; 32]), 1, WorkerId(2))
    }

    fn ids() -> IdSource {
        IdSource::new(WorkerId(2), [1; 32])
    }

    fn secret(algorithm: Algorithm) -> Option<Ha1> {
        Some(ha1(algorithm, "s042-101", "c6", "secret"))
    }

    fn verify(digest: &mut Digest, now: Duration, credentials: &Credentials) -> Verdict {
        digest.verify(now, &Method::Register, URI, credentials, secret)
    }

    fn challenged(settings: DigestSettings) -> (Digest, Challenge) {
        let mut digest = Digest::new(settings);
        let challenge = digest.challenges(NOW, &[], false, &mut ids()).remove(0);
        (digest, challenge)
    }

    #[test]
    fn challenges_in_the_order_given() {
        let mut digest = Digest::new(settings());
        let order = [Algorithm::Sha512_256, Algorithm::Sha256, Algorithm::Md5];
        let challenges = digest.challenges(NOW, &order, true, &mut ids());
        let tokens: Vec<_> = challenges.iter().map(|one| one.value("algorithm").unwrap()).collect();
        assert_eq!(tokens, ["SHA-512-256", "SHA-256", "MD5"]);
        let text = WwwAuthenticate(challenges[1].clone()).to_string();
        let nonce = challenges[0].value("nonce").unwrap();
        assert_eq!(
            text,
            format!("Digest realm=\"c6\", nonce=\"{nonce}\", stale=true, algorithm=SHA-256, qop=\"auth\"")
        );
    }

    #[test]
    fn accepts_each_algorithm_and_each_count_once() {
        for algorithm in Algorithm::ALL {
            let (mut digest, challenge) = challenged(settings());
            let client = Client { algorithm, ..Client::default() };
            for (nc, verdict) in [
                (1, Verdict::Accepted),
                (1, Verdict::Stale),
                (3, Verdict::Accepted),
                (2, Verdict::Accepted),
                (2, Verdict::Stale),
                (900, Verdict::Accepted),
                (700, Verdict::Stale),
            ] {
                assert_eq!(verify(&mut digest, NOW, &client.answer(&challenge, nc)), verdict, "{nc}");
            }
            assert_eq!(digest.remembered(), 1);
        }
    }

    #[test]
    fn a_wrong_password_or_nobody_is_wrong_and_costs_no_memory() {
        let (mut digest, challenge) = challenged(settings());
        let wrong = Client { password: "guess", ..Client::default() }.answer(&challenge, 1);
        assert_eq!(verify(&mut digest, NOW, &wrong), Verdict::Wrong);
        let right = Client::default().answer(&challenge, 1);
        assert_eq!(digest.verify(NOW, &Method::Register, URI, &right, |_| None), Verdict::Wrong);
        assert_eq!(digest.verify(NOW, &Method::Invite, URI, &right, secret), Verdict::Wrong, "other method");
        assert_eq!(digest.remembered(), 0);
        assert_eq!(verify(&mut digest, NOW, &right), Verdict::Accepted);
    }

    #[test]
    fn old_foreign_and_forgotten_nonces_are_stale() {
        let (mut digest, challenge) = challenged(settings());
        let credentials = Client::default().answer(&challenge, 1);
        let (late, early) = (NOW + Duration::from_secs(301), NOW - Duration::from_secs(1));
        assert_eq!(verify(&mut digest, late, &credentials), Verdict::Stale);
        assert_eq!(verify(&mut digest, early, &credentials), Verdict::Accepted, "the clock was set back");

        for other in [
            DigestSettings { node: 2, ..settings() },
            DigestSettings { worker: WorkerId(3), ..settings() },
            DigestSettings { key: NonceKey::new([8; 32]), ..settings() },
        ] {
            assert_eq!(verify(&mut challenged(other).0, NOW, &credentials), Verdict::Stale);
        }
        // The same worker after a restart has forgotten the counts.
        let mut restarted = Digest::new(settings());
        assert_eq!(verify(&mut restarted, NOW, &credentials), Verdict::Stale);
        restarted.challenges(NOW, &[], false, &mut IdSource::new(WorkerId(2), [2; 32]));
        assert_eq!(verify(&mut restarted, NOW, &credentials), Verdict::Stale);

        let mut ids = ids();
        let mut small = Digest::new(DigestSettings { window: 2, ..settings() });
        let answers: Vec<_> = (0..3u64)
            .map(|at| small.challenges(NOW + Duration::from_millis(at), &[], false, &mut ids).remove(0))
            .map(|challenge| Client::default().answer(&challenge, 1))
            .collect();
        for answer in &answers {
            assert_eq!(verify(&mut small, NOW, answer), Verdict::Accepted);
        }
        assert_eq!(verify(&mut small, NOW, &answers[0]), Verdict::Stale, "evicted");
        assert_eq!(small.remembered(), 2);
    }

    #[test]
    fn without_qop_only_where_allowed_and_once() {
        let client = Client { qop: false, ..Client::default() };
        let (mut digest, challenge) = challenged(settings());
        assert_eq!(verify(&mut digest, NOW, &client.answer(&challenge, 1)), Verdict::Wrong);
        let (mut digest, challenge) = challenged(DigestSettings { without_qop: true, ..settings() });
        assert_eq!(verify(&mut digest, NOW, &client.answer(&challenge, 1)), Verdict::Accepted);
        assert_eq!(verify(&mut digest, NOW, &client.answer(&challenge, 1)), Verdict::Stale);
    }

    #[test]
    fn the_uri_may_be_written_otherwise_but_not_name_another_target() {
        for (uri, accepted) in [
            ("sip:c6.example.net", true),
            ("sip:C6.example.net:5060;transport=udp", true),
            ("sip:c6.example.net:5070", false),
            ("sips:c6.example.net", false),
            ("sip:110@c6.example.net", false),
            ("nonsense", false),
        ] {
            let (mut digest, challenge) = challenged(settings());
            let credentials = Client { uri, ..Client::default() }.answer(&challenge, 1);
            let verdict = verify(&mut digest, NOW, &credentials);
            match accepted {
                true => assert_eq!(verdict, Verdict::Accepted, "{uri}"),
                false => assert!(matches!(verdict, Verdict::Malformed(_)), "{uri}"),
            }
        }
    }

    #[test]
    fn names_the_user_of_our_realm_only() {
        let (digest, challenge) = challenged(settings());
        let credentials = Client::default().answer(&challenge, 1);
        assert_eq!(digest.username(&credentials).as_deref(), Some("s042-101"));
        let (other, _) = challenged(DigestSettings { realm: "c7".into(), ..settings() });
        assert_eq!(other.username(&credentials), None);
        let basic = Authorization::parse("Basic realm=\"c6\",username=\"x\"").unwrap();
        assert_eq!(digest.username(&basic), None);
        assert!(format!("{digest:?}").contains("key: NonceKey(…)"));
    }

    proptest! {
        /// Whatever a parameter is replaced with, nothing is accepted and nothing is remembered.
        #[test]
        fn no_changed_parameter_is_accepted(
            name in prop::sample::select(vec!["username", "realm", "nonce", "uri", "response", "algorithm", "qop", "nc", "cnonce"]),
            value in "[ -~]{0,40}",
        ) {
            let (mut digest, challenge) = challenged(settings());
            let mut credentials = Client::default().answer(&challenge, 1);
            let before = credentials.value(name);
            prop_assume!(before.as_deref().is_none_or(|before| !before.eq_ignore_ascii_case(&lex::unquote(&lex::quote(&value)))));
            credentials.params.set(name, Some(&lex::quote(&value)));
            // The user's name counts through the secret that belongs to it.
            let user = |algorithm| {
                (credentials.value("username").as_deref() == Some("s042-101")).then(|| secret(algorithm)).flatten()
            };
            let verdict = digest.verify(NOW, &Method::Register, URI, &credentials, user);
            prop_assert_ne!(verdict, Verdict::Accepted);
            prop_assert_eq!(digest.remembered(), 0);
        }

        /// Bytes from anywhere never panic.
        #[test]
        fn nonsense_never_panics(text in "(Digest )?[ -~]{0,200}") {
            let (mut digest, _) = challenged(settings());
            if let Ok(header) = Authorization::parse(&text) {
                prop_assert_ne!(verify(&mut digest, NOW, &header), Verdict::Accepted);
                let _ = digest.username(&header);
            }
        }
    }
}
