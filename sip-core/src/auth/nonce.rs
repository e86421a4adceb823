//! Nonces that carry their own proof: who issued them, when, and a signature.

use std::fmt;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;

use crate::ids::WorkerId;

/// The key that signs nonces, shared by all nodes. `Debug` hides it.
#[derive(Clone)]
pub struct NonceKey([u8; 32]);

impl NonceKey {
    /// The key with these bytes, which come from a secure random source.
    pub fn new(bytes: [u8; 32]) -> NonceKey {
        NonceKey(bytes)
    }
}

impl From<[u8; 32]> for NonceKey {
    fn from(bytes: [u8; 32]) -> Self {
        NonceKey(bytes)
    }
}

impl fmt::Debug for NonceKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("NonceKey(…)")
    }
}

/// What a nonce says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Nonce {
    /// When it was issued, in ms since 1970.
    pub(super) issued: u64,
    /// The node that issued it.
    pub(super) node: u16,
    /// The worker that issued it.
    pub(super) worker: WorkerId,
    /// The run of that worker: after a restart the counts of earlier nonces are forgotten, so those are not taken any more.
    pub(super) run: u32,
    /// Makes it unique.
    pub(super) random: u64,
}

/// Writes and reads the nonces of one realm.
#[derive(Debug, Clone)]
pub(super) struct Signer {
    mac: Redacted<Hmac<Sha256>>,
}

impl Signer {
    pub(super) fn new(key: &NonceKey, realm: &str) -> Signer {
        // HMAC fills a key up to the block with zeros; doing so here leaves no error to handle.
        let mut block = [0; 64];
        block.iter_mut().zip(key.0).for_each(|(to, from)| *to = from);
        let mut mac = <Hmac<Sha256> as KeyInit>::new(&block.into());
        // The realm is part of what is signed, with its length, so that a nonce is worth nothing in another realm.
        mac.update(&(realm.len() as u64).to_be_bytes());
        mac.update(realm.as_bytes());
        Signer { mac: Redacted(mac) }
    }

    /// The nonce as text: 48 characters of the URL-safe base64 alphabet.
    pub(super) fn seal(&self, nonce: Nonce) -> String {
        let plain = nonce.to_bytes();
        let mut mac = self.mac.0.clone();
        mac.update(&plain);
        let signature = mac.finalize().into_bytes();
        let sealed: Vec<u8> = plain.iter().chain(signature.iter().take(SIGNATURE)).copied().collect();
        URL_SAFE_NO_PAD.encode(sealed)
    }

    /// What the text says, or `None` when nobody with our key wrote it.
    pub(super) fn open(&self, text: &str) -> Option<Nonce> {
        let mut sealed = [0; PLAIN + SIGNATURE];
        (text.len() == TEXT).then_some(())?;
        let length = URL_SAFE_NO_PAD.decode_slice(text, &mut sealed).ok()?;
        let (plain, signature) = sealed.get(..length)?.split_first_chunk::<PLAIN>()?;
        let mut mac = self.mac.0.clone();
        mac.update(plain);
        mac.verify_truncated_left(signature).ok()?;
        // The signature's length is checked above: a shorter one would be easier to guess.
        (signature.len() == SIGNATURE).then(|| Nonce::from_bytes(plain))
    }
}

impl Nonce {
    /// Its age, zero when the clock has been set back since.
    pub(super) fn age(&self, unix_now: Duration) -> Duration {
        unix_now.saturating_sub(Duration::from_millis(self.issued))
    }

    fn to_bytes(self) -> [u8; PLAIN] {
        let [_, _, t0, t1, t2, t3, t4, t5] = self.issued.to_be_bytes();
        let [n0, n1] = self.node.to_be_bytes();
        let [r0, r1, r2, r3] = self.run.to_be_bytes();
        let [x0, x1, x2, x3, x4, x5, x6, x7] = self.random.to_be_bytes();
        [t0, t1, t2, t3, t4, t5, n0, n1, self.worker.0, r0, r1, r2, r3, x0, x1, x2, x3, x4, x5, x6, x7]
    }

    fn from_bytes(bytes: &[u8; PLAIN]) -> Nonce {
        let [t0, t1, t2, t3, t4, t5, n0, n1, worker, r0, r1, r2, r3, x0, x1, x2, x3, x4, x5, x6, x7] = *bytes;
        Nonce {
            issued: u64::from_be_bytes([0, 0, t0, t1, t2, t3, t4, t5]),
            node: u16::from_be_bytes([n0, n1]),
            worker: WorkerId(worker),
            run: u32::from_be_bytes([r0, r1, r2, r3]),
            random: u64::from_be_bytes([x0, x1, x2, x3, x4, x5, x6, x7]),
        }
    }
}

#[derive(Clone)]
struct Redacted<T>(T);

impl<T> fmt::Debug for Redacted<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("…")
    }
}

/// Bytes of a nonce's content: time 6, node 2, worker 1, run 4, random 8.
const PLAIN: usize = 21;
/// Bytes of its signature.
const SIGNATURE: usize = 15;
/// Characters of the whole.
const TEXT: usize = (PLAIN + SIGNATURE) / 3 * 4;

#[cfg(test)]
mod tests {
    use super::*;

    fn nonce() -> Nonce {
        Nonce {
            issued: 1_790_000_000_123,
            node: 513,
            worker: WorkerId(3),
            run: 77,
            random: 0x0123_4567_89ab_cdef,
        }
    }

    #[test]
    fn what_was_sealed_can_be_opened() {
        let signer = Signer::new(&NonceKey::new([7; 32]), "c6");
        let text = signer.seal(nonce());
        assert_eq!(text.len(), TEXT);
        assert_eq!(signer.open(&text), Some(nonce()));
    }

    #[test]
    fn what_was_changed_or_signed_by_others_cannot() {
        let signer = Signer::new(&NonceKey::new([7; 32]), "c6");
        let text = signer.seal(nonce());
        for at in 0..text.len() {
            let mut changed = text.clone().into_bytes();
            changed[at] = if changed[at] == b'A' { b'B' } else { b'A' };
            assert_eq!(signer.open(std::str::from_utf8(&changed).unwrap()), None, "{at}");
        }
        for shorter in 0..text.len() {
            assert_eq!(signer.open(&text[..shorter]), None, "{shorter}");
        }
        assert_eq!(Signer::new(&NonceKey::new([8; 32]), "c6").open(&text), None);
        assert_eq!(Signer::new(&NonceKey::new([7; 32]), "c7").open(&text), None);
        assert_eq!(format!("{signer:?} {:?}", NonceKey::new([7; 32])), "Signer { mac: … } NonceKey(…)");
    }
}
