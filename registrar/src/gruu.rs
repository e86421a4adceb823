//! Globally routable URIs of one phone among those of a line (RFC 5627): what a REGISTER is given, and what a Request-URI means.
//!
//! Nothing is remembered for them: a public GRUU names the instance, and a temporary one holds line, instance and registration,
//! encrypted, so that nobody can tell whose it is and it ends with the registration.

use std::fmt;

use hmac::{Hmac, KeyInit, Mac};
use schema::{Binding, LineId};
use sha2::{Digest, Sha256};
use sip_core::ids::IdSource;
use sip_core::wire::{SipUri, Uri};
use subtle::ConstantTimeEq;

/// Makes and reads GRUUs with a key that all nodes share.
#[derive(Clone)]
pub struct GruuKey([u8; 32]);

/// What a GRUU names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Gruu {
    /// An instance of the line that the rest of the URI names.
    Public {
        /// The URN, as in the URI.
        instance: String,
    },
    /// An instance of this line, as long as it stays registered by the same Call-ID.
    Temporary {
        /// The line.
        line: LineId,
        /// A hash of the instance.
        instance: u64,
        /// A hash of the registration's Call-ID.
        call_id: u64,
    },
}

impl GruuKey {
    /// `key` is a secret that all nodes share.
    pub fn new(key: [u8; 32]) -> GruuKey {
        GruuKey(key)
    }

    /// The public GRUU of an instance: the address-of-record with `gr` (RFC 5627 §3.1.1). `None` for an instance that is none.
    pub fn public(&self, aor: &SipUri, instance: &str) -> Option<SipUri> {
        let urn = urn(instance).filter(|urn| !urn.is_empty())?;
        let mut uri = bare(aor);
        uri.params.set("gr", Some(&escape(urn)));
        Some(uri)
    }

    /// A temporary GRUU of a binding, another one each time (RFC 5627 §3.1.2). `None` for a binding without an instance.
    pub fn temporary(&self, aor: &SipUri, binding: &Binding, ids: &mut IdSource) -> Option<SipUri> {
        let urn = urn(binding.instance.as_deref()?)?;
        let nonce = ids.next_u64().to_be_bytes();
        let mut sealed = [0_u8; 24];
        let plain = [binding.line.0 as u64, hash(urn), hash(&binding.call_id)];
        for (place, byte) in sealed.iter_mut().zip(plain.iter().flat_map(|word| word.to_be_bytes())) {
            *place = byte;
        }
        self.cipher(&nonce, &mut sealed);
        let mut user = PREFIX.to_owned();
        for byte in nonce.iter().chain(&sealed).chain(&self.code(&nonce, &sealed)) {
            user.push_str(&format!("{byte:02x}"));
        }
        let mut uri = bare(aor);
        uri.user = Some(user);
        uri.params.set("gr", None);
        Some(uri)
    }

    /// What a URI names, when it is a GRUU of ours; its host is the caller's business. `None` for any other URI, and for one that was
    /// made up.
    pub fn read(&self, uri: &Uri) -> Option<Gruu> {
        let uri = uri.sip().filter(|uri| uri.params.has("gr"))?;
        match uri.params.value("gr") {
            Some(instance) => Some(Gruu::Public { instance: unescape(instance) }),
            None => self.open(uri.user.as_deref()?.strip_prefix(PREFIX)?),
        }
    }

    fn open(&self, digits: &str) -> Option<Gruu> {
        if digits.len() != 2 * (8 + 24 + CODE) || !digits.is_ascii() {
            return None;
        }
        let bytes: Vec<u8> = (0..digits.len() / 2)
            .map(|at| u8::from_str_radix(digits.get(2 * at..2 * at + 2)?, 16).ok())
            .collect::<Option<_>>()?;
        let (nonce, rest) = bytes.split_first_chunk::<8>()?;
        let (sealed, code) = rest.split_first_chunk::<24>()?;
        let genuine: bool = self.code(nonce, sealed).ct_eq(code).into();
        if !genuine {
            return None;
        }
        let mut plain = *sealed;
        self.cipher(nonce, &mut plain);
        let mut words = plain.chunks_exact(8).filter_map(|word| word.try_into().ok()).map(u64::from_be_bytes);
        let (line, instance, call_id) = (words.next()?, words.next()?, words.next()?);
        Some(Gruu::Temporary { line: LineId(line as i64), instance, call_id })
    }

    /// Adds a key stream that no other GRUU has.
    fn cipher(&self, nonce: &[u8; 8], bytes: &mut [u8; 24]) {
        let stream = self.mac(b"centrex6 gruu stream\0", &[nonce]);
        bytes.iter_mut().zip(stream).for_each(|(byte, key)| *byte ^= key);
    }

    fn code(&self, nonce: &[u8; 8], sealed: &[u8; 24]) -> [u8; CODE] {
        let mac = self.mac(b"centrex6 gruu code\0", &[nonce, sealed]);
        mac.first_chunk().copied().unwrap_or([0; CODE])
    }

    fn mac(&self, purpose: &[u8], parts: &[&[u8]]) -> [u8; 32] {
        let mut mac = Hmac::<Sha256>::new_from_slice(&self.0).expect("HMAC takes keys of every length");
        mac.update(purpose);
        parts.iter().for_each(|part| mac.update(part));
        mac.finalize().into_bytes().into()
    }
}

impl fmt::Debug for GruuKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("GruuKey(…)")
    }
}

impl Gruu {
    /// Whether it was good for the instance of a binding and is so no more, because the phone has registered anew (RFC 5627 §5.4).
    pub fn is_outlived_by(&self, binding: &Binding) -> bool {
        let Some(urn) = binding.instance.as_deref().and_then(urn) else { return false };
        match self {
            Gruu::Public { .. } => false,
            Gruu::Temporary { line, instance, call_id } => {
                *line == binding.line && *instance == hash(urn) && *call_id != hash(&binding.call_id)
            }
        }
    }

    /// Whether a binding is one of the instance that is named (RFC 5627 §5.4: a temporary GRUU ends when the Call-ID changes).
    pub fn names(&self, binding: &Binding) -> bool {
        let Some(urn) = binding.instance.as_deref().and_then(urn) else { return false };
        match self {
            Gruu::Public { instance } => instance.eq_ignore_ascii_case(urn),
            Gruu::Temporary { line, instance, call_id } => {
                *line == binding.line && *instance == hash(urn) && *call_id == hash(&binding.call_id)
            }
        }
    }
}

/// The URN inside `"<urn:uuid:…>"`, as `+sip.instance` writes it (RFC 5626 §4.1).
fn urn(instance: &str) -> Option<&str> {
    instance.trim().trim_matches('"').strip_prefix('<')?.strip_suffix('>')
}

fn bare(aor: &SipUri) -> SipUri {
    let mut uri = aor.clone();
    (uri.password, uri.params, uri.headers) = (None, Default::default(), None);
    uri
}

/// Characters that a URI's parameter may hold (RFC 3261 §25.1), and the others escaped.
fn escape(text: &str) -> String {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.!~*'()[]/:&+$".contains(&byte);
    text.bytes()
        .map(|byte| if is_plain(byte) { (byte as char).to_string() } else { format!("%{byte:02X}") })
        .collect()
}

fn unescape(text: &str) -> String {
    let mut plain = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((first, tail)) = rest.split_first() {
        let escaped = tail.get(..2).filter(|_| *first == b'%').and_then(|hex| std::str::from_utf8(hex).ok());
        match escaped.and_then(|hex| u8::from_str_radix(hex, 16).ok()) {
            Some(byte) => {
                plain.push(byte);
                rest = tail.get(2..).unwrap_or_default();
            }
            None => {
                plain.push(*first);
                rest = tail;
            }
        }
    }
    String::from_utf8_lossy(&plain).into_owned()
}

fn hash(text: &str) -> u64 {
    let digest = Sha256::digest(text.to_ascii_lowercase());
    digest.iter().take(8).fold(0, |hash, byte| hash << 8 | u64::from(*byte))
}

/// What a temporary GRUU's user part begins with.
const PREFIX: &str = "tgruu.";
/// 80 bits, as in our Record-Route.
const CODE: usize = 10;

#[cfg(test)]
mod tests {
    use sip_core::ids::WorkerId;

    use super::*;
    use crate::register::tests::binding;

    const INSTANCE: &str = "\"<urn:uuid:f81d4fae-7dec-11d0-a765-00a0c91e6bf6>\"";

    fn aor() -> SipUri {
        let uri: Uri = "sip:101@s1.example.net;transport=tcp?x=y".parse().unwrap();
        uri.sip().unwrap().clone()
    }

    fn registered() -> Binding {
        Binding { instance: Some(INSTANCE.to_owned()), ..binding("sip:101@[::1]:6000", 100) }
    }

    /// RFC 5627 §3.1.1: a public GRUU is the address-of-record with the instance in `gr`.
    #[test]
    fn a_public_gruu_names_its_instance() {
        let key = GruuKey::new([1; 32]);
        let gruu = key.public(&aor(), INSTANCE).unwrap();
        assert_eq!(
            gruu.to_string(),
            "sip:101@s1.example.net;gr=urn:uuid:f81d4fae-7dec-11d0-a765-00a0c91e6bf6"
        );
        let read = key.read(&gruu.into()).unwrap();
        assert!(read.names(&registered()));
        assert!(!read.names(&binding("sip:101@[::1]:6000", 100)));
        let odd = key.public(&aor(), "\"<urn:x:a;b=c%d>\"").unwrap();
        assert_eq!(key.read(&odd.into()), Some(Gruu::Public { instance: "urn:x:a;b=c%d".to_owned() }));
        assert_eq!(key.public(&aor(), "urn:without-brackets"), None);
        assert_eq!(key.read(&aor().into()), None);
    }

    /// RFC 5627 §3.1.2: a temporary GRUU tells nobody whose it is, and no two are alike.
    /// RFC 5627 §5.4: it is good until the instance registers with another Call-ID.
    #[test]
    fn a_temporary_gruu_hides_its_line_and_ends_with_the_registration() {
        let key = GruuKey::new([1; 32]);
        let mut ids = IdSource::new(WorkerId(0), [2; 32]);
        let (one, two) =
            (key.temporary(&aor(), &registered(), &mut ids), key.temporary(&aor(), &registered(), &mut ids));
        assert_ne!(one, two);
        let one = one.unwrap();
        assert!(!one.to_string().contains("101@"), "{one}");
        let read = key.read(&one.clone().into()).unwrap();
        assert!(read.names(&registered()));
        let anew = Binding { call_id: "another".to_owned(), ..registered() };
        assert!(!read.names(&anew) && read.is_outlived_by(&anew) && !read.is_outlived_by(&registered()));
        assert!(!read.names(&Binding { line: LineId(2), ..registered() }));
        // Made up, or of another platform.
        assert_eq!(GruuKey::new([2; 32]).read(&one.clone().into()), None);
        for user in ["tgruu.", "tgruu.00", "101"] {
            let forged: Uri = format!("sip:{user}@s1.example.net;gr").parse().unwrap();
            assert_eq!(key.read(&forged), None, "{user}");
        }
        let mut changed = one.to_string();
        changed.replace_range(15..16, if &changed[15..16] == "0" { "1" } else { "0" });
        assert_eq!(key.read(&changed.parse().unwrap()), None);
    }
}
