//! The client's side of digest authentication (RFC 3261 §22, RFC 7616, RFC 8760).

use std::fmt;

use md5::Md5;
use sha2::{Digest as _, Sha256, Sha512_256};

use crate::{message::Message, uri::split_outside_quotes};

/// User name and password.
#[derive(Clone)]
pub(crate) struct Credentials {
    pub(crate) user: String,
    pub(crate) password: String,
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Credentials").field("user", &self.user).finish_non_exhaustive()
    }
}

/// A challenge that was taken up, with the count of how often its nonce was used.
#[derive(Debug, Clone)]
pub(crate) struct Challenge {
    /// The field that answers it.
    field: &'static str,
    realm: String,
    nonce: String,
    opaque: Option<String>,
    algorithm: Algorithm,
    /// As the server wrote it; `None` if it named none.
    algorithm_name: Option<String>,
    qop_auth: bool,
    pub(crate) stale: bool,
    count: u32,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Algorithm {
    Md5,
    Sha256,
    Sha512_256,
}

impl Challenge {
    /// The first challenge of a 401 or 407 whose algorithm we know (RFC 8760 §2.4).
    pub(crate) fn from_response(response: &Message) -> Option<Self> {
        let (header, field) = match response.status()?.0 {
            401 => ("WWW-Authenticate", "Authorization"),
            407 => ("Proxy-Authenticate", "Proxy-Authorization"),
            _ => return None,
        };
        response.headers(header).find_map(|value| Self::parse(value, field))
    }

    fn parse(value: &str, field: &'static str) -> Option<Self> {
        let (scheme, params) = value.trim().split_once(char::is_whitespace)?;
        if !scheme.eq_ignore_ascii_case("Digest") {
            return None;
        }
        let param = |name: &str| {
            split_outside_quotes(params, ',').find_map(|param| {
                let (key, value) = param.split_once('=')?;
                key.trim().eq_ignore_ascii_case(name).then(|| unquote(value.trim()))
            })
        };
        let algorithm_name = param("algorithm");
        let algorithm = match algorithm_name.as_deref() {
            None => Algorithm::Md5,
            Some(name) if name.eq_ignore_ascii_case("MD5") => Algorithm::Md5,
            Some(name) if name.eq_ignore_ascii_case("SHA-256") => Algorithm::Sha256,
            Some(name) if name.eq_ignore_ascii_case("SHA-512-256") => Algorithm::Sha512_256,
            Some(_) => return None,
        };
        let qop = param("qop");
        let qop_auth = qop
            .as_deref()
            .is_some_and(|qop| qop.split(',').any(|offered| offered.trim().eq_ignore_ascii_case("auth")));
        if qop.is_some() && !qop_auth {
            return None;
        }
        Some(Self {
            field,
            realm: param("realm")?,
            nonce: param("nonce")?,
            opaque: param("opaque"),
            algorithm,
            algorithm_name,
            qop_auth,
            stale: param("stale").is_some_and(|stale| stale.eq_ignore_ascii_case("true")),
            count: 0,
        })
    }

    /// Name and value of the field that answers this challenge; every call counts one use of the nonce.
    pub(crate) fn answer(
        &mut self,
        credentials: &Credentials,
        method: &str,
        uri: &str,
        cnonce: &str,
    ) -> (&'static str, String) {
        self.count = self.count.saturating_add(1);
        let hash = |text: String| self.algorithm.hex(&text);
        let ha1 = hash(format!("{}:{}:{}", credentials.user, self.realm, credentials.password));
        let ha2 = hash(format!("{method}:{uri}"));
        let count = format!("{:08x}", self.count);
        let response = if self.qop_auth {
            hash(format!("{ha1}:{}:{count}:{cnonce}:auth:{ha2}", self.nonce))
        } else {
            hash(format!("{ha1}:{}:{ha2}", self.nonce))
        };
        let mut value = format!(
            "Digest username={}, realm={}, nonce={}, uri={}, response=\"{response}\"",
            quote(&credentials.user),
            quote(&self.realm),
            quote(&self.nonce),
            quote(uri)
        );
        if let Some(name) = &self.algorithm_name {
            value.push_str(&format!(", algorithm={name}"));
        }
        if self.qop_auth {
            value.push_str(&format!(", qop=auth, nc={count}, cnonce=\"{cnonce}\""));
        }
        if let Some(opaque) = &self.opaque {
            value.push_str(&format!(", opaque={}", quote(opaque)));
        }
        (self.field, value)
    }

    /// Whether both challenges carry the same nonce, so that answering again would say nothing new.
    pub(crate) fn same_nonce(&self, other: &Self) -> bool {
        self.nonce == other.nonce
    }
}

/// Name and value of the field that answers a 401 or 407 once, for who speaks SIP by hand. `None` when the response holds no challenge
/// that we know.
pub fn answer_challenge(
    response: &Message,
    user: &str,
    password: &str,
    method: &str,
    uri: &str,
) -> Option<(&'static str, String)> {
    let credentials = Credentials { user: user.to_owned(), password: password.to_owned() };
    Some(Challenge::from_response(response)?.answer(&credentials, method, uri, "0a4f113b"))
}

impl Algorithm {
    fn hex(self, text: &str) -> String {
        let digest = match self {
            Self::Md5 => Md5::digest(text).to_vec(),
            Self::Sha256 => Sha256::digest(text).to_vec(),
            Self::Sha512_256 => Sha512_256::digest(text).to_vec(),
        };
        digest.iter().map(|byte| format!("{byte:02x}")).collect()
    }
}

fn unquote(value: &str) -> String {
    let Some(inner) = value.strip_prefix('"').and_then(|value| value.strip_suffix('"')) else {
        return value.to_owned();
    };
    let mut escaped = false;
    inner
        .chars()
        .filter(|letter| {
            escaped = *letter == '\\' && !escaped;
            !escaped
        })
        .collect()
}

fn quote(value: &str) -> String {
    format!("\"{}\"", value.replace('\\', "\\\\").replace('"', "\\\""))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn challenged(values: &[&str]) -> Option<Challenge> {
        let mut response = Message::parse(b"SIP/2.0 401 Unauthorized\r\n\r\n").expect("well formed");
        for value in values {
            response.push("WWW-Authenticate", *value);
        }
        Challenge::from_response(&response)
    }

    fn response_of(value: &str) -> &str {
        let at = value.find("response=\"").expect("a response") + 10;
        value[at..].split('"').next().unwrap_or_default()
    }

    /// RFC 7616 §3.9.1: the examples of the RFC.
    #[test]
    fn the_examples_of_rfc_7616() {
        let mufasa = Credentials { user: "Mufasa".to_owned(), password: "Circle of Life".to_owned() };
        let cnonce = "f2/wE4q74E6zIJEtWaHKaf5wv/H5QzzpXusqGemxURZJ";
        let head = "Digest realm=\"http-auth@example.org\", qop=\"auth, auth-int\", \
            nonce=\"7ypf/xlj9XXwfDPEoM4URrv/xwf94BcCAzFZH4GiTo0v\", opaque=\"FQhe/qaU925kfnzjCev0ciny7QMkPqMAFRtzCUYo5tdS\"";
        for (algorithm, expected) in [
            ("MD5", "8ca523f5e9506fed4657c9700eebdbec"),
            ("SHA-256", "753927fa0e85d155564e2e272a28d1802ca10daf4496794697cf8db5856cb6c1"),
        ] {
            let mut challenge =
                challenged(&[&format!("{head}, algorithm={algorithm}")]).expect("a challenge");
            let (field, value) = challenge.answer(&mufasa, "GET", "/dir/index.html", cnonce);
            assert_eq!(field, "Authorization");
            assert_eq!(response_of(&value), expected);
        }
    }

    #[test]
    fn the_first_known_algorithm_is_taken() {
        let challenge = challenged(&[
            "Digest realm=\"a\", nonce=\"1\", algorithm=SHA-1024",
            "Digest realm=\"a\", nonce=\"2\", algorithm=SHA-512-256, qop=\"auth\", stale=TRUE",
            "Digest realm=\"a\", nonce=\"3\"",
        ])
        .expect("a challenge");
        assert_eq!((challenge.algorithm, challenge.stale), (Algorithm::Sha512_256, true));
        assert!(challenged(&["Basic realm=\"a\""]).is_none());
        assert!(challenged(&["Digest realm=\"a\", nonce=\"1\", qop=\"auth-int\""]).is_none());
    }

    #[test]
    fn quotes_survive() {
        assert_eq!(unquote(r#""a\"b\\c""#), r#"a"b\c"#);
        assert_eq!(quote(r#"a"b\c"#), r#""a\"b\\c""#);
    }
}
