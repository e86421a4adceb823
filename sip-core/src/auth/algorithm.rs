//! The hash algorithms and the arithmetic of digest responses.

use std::fmt;

use md5::Md5;
use sha2::{Sha256, Sha512_256};

use crate::wire::Method;

/// A digest algorithm (RFC 8760 §2.1). The `-sess` variants are not offered.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Algorithm {
    /// `MD5`.
    Md5,
    /// `SHA-256`.
    Sha256,
    /// `SHA-512-256`: SHA-512 with its own initial values, cut to 256 bits (FIPS 180-4).
    Sha512_256,
}

impl Algorithm {
    /// All of them, the strongest last.
    pub const ALL: [Algorithm; 3] = [Algorithm::Md5, Algorithm::Sha256, Algorithm::Sha512_256];

    /// The token of the `algorithm` parameter.
    pub fn token(self) -> &'static str {
        match self {
            Algorithm::Md5 => "MD5",
            Algorithm::Sha256 => "SHA-256",
            Algorithm::Sha512_256 => "SHA-512-256",
        }
    }

    /// The algorithm that a token names, in any case; `None` for one that we do not know.
    pub fn from_token(token: &str) -> Option<Algorithm> {
        Algorithm::ALL.into_iter().find(|algorithm| algorithm.token().eq_ignore_ascii_case(token))
    }

    /// The hash's length in bytes.
    pub fn output_len(self) -> usize {
        match self {
            Algorithm::Md5 => 16,
            Algorithm::Sha256 | Algorithm::Sha512_256 => 32,
        }
    }

    /// The hash of the pieces joined by colons.
    fn hash(self, pieces: &[&[u8]]) -> Hash {
        match self {
            Algorithm::Md5 => joined::<Md5>(pieces),
            Algorithm::Sha256 => joined::<Sha256>(pieces),
            Algorithm::Sha512_256 => joined::<Sha512_256>(pieces),
        }
    }
}

impl fmt::Display for Algorithm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.token())
    }
}

/// `H(user:realm:password)` (RFC 7616 §3.4.2): as good as the password within its realm, so `Debug` hides it.
#[derive(Clone)]
pub struct Ha1(Hash);

/// The secret from which a line's responses are computed. `user`, `realm` and `password` are taken without quotes and escapes.
pub fn ha1(algorithm: Algorithm, user: &str, realm: &str, password: &str) -> Ha1 {
    Ha1(algorithm.hash(&[user.as_bytes(), realm.as_bytes(), password.as_bytes()]))
}

impl Ha1 {
    /// Reads 32 (MD5) or 64 hexadecimal digits; `None` for anything else.
    pub fn from_hex(text: &str) -> Option<Ha1> {
        Hash::from_hex(text).map(Ha1)
    }

    /// Lower-case hexadecimal digits, as they enter the response's hash.
    pub fn to_hex(&self) -> String {
        hex::encode(self.0.as_bytes())
    }

    /// Some value of the right length that belongs to nobody, so that an unknown user costs the time of a known one.
    pub(super) fn nobody(algorithm: Algorithm) -> Ha1 {
        Ha1(Hash { bytes: [0; 32], length: algorithm.output_len() })
    }
}

impl PartialEq for Ha1 {
    fn eq(&self, other: &Self) -> bool {
        self.0.same(&other.0)
    }
}

impl Eq for Ha1 {}

impl fmt::Debug for Ha1 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Ha1(…)")
    }
}

/// What a client says in answer to a challenge, and from which its response is computed.
#[derive(Clone, Copy)]
pub struct Answer<'a> {
    /// The request's method.
    pub method: &'a Method,
    /// The `uri` parameter as written.
    pub uri: &'a str,
    /// The `nonce` parameter as written.
    pub nonce: &'a str,
    /// With `qop=auth` the `nc` and `cnonce` parameters as written; `None` without qop (RFC 2069).
    pub count: Option<(&'a str, &'a str)>,
}

impl Answer<'_> {
    /// The `response` parameter in hexadecimal digits (RFC 7616 §3.4.1).
    pub fn response(&self, algorithm: Algorithm, ha1: &Ha1) -> String {
        hex::encode(self.hash(algorithm, ha1).as_bytes())
    }

    /// Whether `response` is right; compared in constant time. `None` when it has not the algorithm's length or is no hexadecimal number.
    pub(super) fn matches(&self, algorithm: Algorithm, ha1: &Ha1, response: &str) -> Option<bool> {
        let shown = Hash::from_hex(response).filter(|shown| shown.length == algorithm.output_len())?;
        Some(self.hash(algorithm, ha1).same(&shown))
    }

    fn hash(&self, algorithm: Algorithm, ha1: &Ha1) -> Hash {
        let secret = ha1.to_hex();
        let a2 =
            hex::encode(algorithm.hash(&[self.method.as_str().as_bytes(), self.uri.as_bytes()]).as_bytes());
        let (secret, nonce, a2) = (secret.as_bytes(), self.nonce.as_bytes(), a2.as_bytes());
        match self.count {
            Some((nc, cnonce)) => {
                algorithm.hash(&[secret, nonce, nc.as_bytes(), cnonce.as_bytes(), b"auth", a2])
            }
            None => algorithm.hash(&[secret, nonce, a2]),
        }
    }
}

/// A hash value of 16 or 32 bytes.
#[derive(Clone)]
struct Hash {
    bytes: [u8; 32],
    length: usize,
}

impl Hash {
    fn from_hex(text: &str) -> Option<Hash> {
        let length = text.len() / 2;
        let mut bytes = [0; 32];
        (length == 16 || length == 32).then_some(())?;
        hex::decode_to_slice(text, bytes.get_mut(..length)?).ok()?;
        Some(Hash { bytes, length })
    }

    fn as_bytes(&self) -> &[u8] {
        self.bytes.get(..self.length).unwrap_or(&self.bytes)
    }

    fn same(&self, other: &Hash) -> bool {
        subtle::ConstantTimeEq::ct_eq(self.as_bytes(), other.as_bytes()).into()
    }
}

fn joined<D: sha2::digest::Digest>(pieces: &[&[u8]]) -> Hash {
    let mut hasher = D::new();
    for (at, piece) in pieces.iter().enumerate() {
        if at > 0 {
            hasher.update(b":");
        }
        hasher.update(piece);
    }
    let output = hasher.finalize();
    let mut hash = Hash { bytes: [0; 32], length: output.len().min(32) };
    hash.bytes.iter_mut().zip(output.iter()).for_each(|(to, from)| *to = *from);
    hash
}

#[cfg(test)]
mod tests {
    use super::*;

    fn response(
        algorithm: Algorithm,
        who: [&str; 3],
        uri: &str,
        nonce: &str,
        count: Option<(&str, &str)>,
    ) -> String {
        let [user, realm, password] = who;
        let method = Method::parse(b"GET").unwrap();
        let answer = Answer { method: &method, uri, nonce, count };
        answer.response(algorithm, &ha1(algorithm, user, realm, password))
    }

    #[test]
    fn rfc_7616_3_9_1() {
        let who = ["Mufasa", "http-auth@example.org", "Circle of Life"];
        let nonce = "7ypf/xlj9XXwfDPEoM4URrv/xwf94BcCAzFZH4GiTo0v";
        let count = Some(("00000001", "f2/wE4q74E6zIJEtWaHKaf5wv/H5QzzpXusqGemxURZJ"));
        let of = |algorithm| response(algorithm, who, "/dir/index.html", nonce, count);
        assert_eq!(of(Algorithm::Md5), "8ca523f5e9506fed4657c9700eebdbec");
        assert_eq!(of(Algorithm::Sha256), "753927fa0e85d155564e2e272a28d1802ca10daf4496794697cf8db5856cb6c1");
    }

    /// RFC 7616 §3.9.2 with erratum 4897: the printed response is not that of FIPS 180-4.
    #[test]
    fn rfc_7616_3_9_2() {
        let who = ["J\u{e4}s\u{f8}n Doe", "api@example.org", "Secret, or not?"];
        let nonce = "5TsQWLVdgBdmrQ0XsxbDODV+57QdFR34I9HAbC/RVvkK";
        let count = Some(("00000001", "NTg6RKcb9boFIAS3KrFK9BGeh+iDa/sm6jUMp2wds69v"));
        assert_eq!(
            response(Algorithm::Sha512_256, who, "/doe.json", nonce, count),
            "3798d4131c277846293534c3edc11bd8a5e4cdcbff78b05db9d95eeb1cec68a5"
        );
    }

    #[test]
    fn rfc_2617_3_5_and_rfc_2069() {
        let nonce = "dcd98b7102dd2f0e8b11d0f600bfb0c093";
        let who = ["Mufasa", "testrealm@host.com", "Circle Of Life"];
        let count = Some(("00000001", "0a4f113b"));
        assert_eq!(
            response(Algorithm::Md5, who, "/dir/index.html", nonce, count),
            "6629fae49393a05397450978507c4ef1"
        );
        let who = ["Mufasa", "testrealm@host.com", "CircleOfLife"];
        assert_eq!(
            response(Algorithm::Md5, who, "/dir/index.html", nonce, None),
            "1949323746fe6a43ef61f9606e7febea"
        );
    }

    #[test]
    fn a_secret_is_stored_as_digits_and_never_shown() {
        for algorithm in Algorithm::ALL {
            let secret = ha1(algorithm, "s042-101", "c6", "pass");
            let digits = secret.to_hex();
            assert_eq!(digits.len(), 2 * algorithm.output_len());
            assert_eq!(Ha1::from_hex(&digits.to_uppercase()), Some(secret.clone()));
            assert_eq!(format!("{secret:?}"), "Ha1(…)");
            assert_eq!(Algorithm::from_token(&algorithm.token().to_lowercase()), Some(algorithm));
        }
        for wrong in ["", "00", &"0".repeat(33), &"g".repeat(32), &"é".repeat(16)] {
            assert_eq!(Ha1::from_hex(wrong), None, "{wrong}");
        }
    }
}
