//! Passwords: the digest secrets that are made from them, and the seal under which they are kept.
//!
//! Nothing here shows a secret by `Debug`.

use std::fmt;
use std::fs;
use std::hint::black_box;
use std::io::{self, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use chacha20poly1305::aead::{Aead, Payload};
use chacha20poly1305::{KeyInit, XChaCha20Poly1305, XNonce};
use md5::{Digest, Md5};
use sha2::{Sha256, Sha512_256};

/// A password in the clear. It is wiped when it is dropped.
#[derive(Clone, PartialEq, Eq)]
pub struct Password(String);

impl Password {
    /// Takes a password.
    pub fn new(password: impl Into<String>) -> Password {
        Password(password.into())
    }

    /// The password itself: for the phone's file and the one who typed it, never for a log.
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

impl Drop for Password {
    fn drop(&mut self) {
        let mut bytes = std::mem::take(&mut self.0).into_bytes();
        bytes.fill(0);
        black_box(&bytes);
    }
}

impl fmt::Debug for Password {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Password(…)")
    }
}

impl fmt::Display for Password {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("…")
    }
}

/// A new random password of 100 bits: 20 letters and digits that people do not mistake for one another.
///
/// # Errors
/// [`SecretError::Random`] when the system gives no random bytes.
pub fn generate_password() -> Result<Password, SecretError> {
    let password = random::<20>()?
        .into_iter()
        .filter_map(|byte| ALPHABET.get(usize::from(byte % 32)))
        .map(|&byte| char::from(byte));
    Ok(Password(password.collect()))
}

/// The digest secret `H(user ":" realm ":" password)` of a line, one an algorithm, in lower-case hexadecimal (RFC 7616 §3.4.2, RFC 8760).
#[derive(Clone, PartialEq, Eq)]
pub struct Ha1Set {
    md5: String,
    sha256: String,
    sha512_256: String,
}

impl Ha1Set {
    /// Makes the three secrets.
    pub fn of(auth_user: &str, realm: &str, password: &Password) -> Ha1Set {
        fn hash<D: Digest>(parts: [&str; 3]) -> String {
            let mut digest = D::new();
            for (index, part) in parts.into_iter().enumerate() {
                if index > 0 {
                    digest.update(b":");
                }
                digest.update(part.as_bytes());
            }
            hex::encode(digest.finalize())
        }
        let parts = [auth_user, realm, password.reveal()];
        Ha1Set {
            md5: hash::<Md5>(parts),
            sha256: hash::<Sha256>(parts),
            sha512_256: hash::<Sha512_256>(parts),
        }
    }

    pub(crate) fn from_stored(md5: String, sha256: String, sha512_256: String) -> Ha1Set {
        Ha1Set { md5, sha256, sha512_256 }
    }

    /// The secret for MD5.
    pub fn md5(&self) -> &str {
        &self.md5
    }

    /// The secret for SHA-256.
    pub fn sha256(&self) -> &str {
        &self.sha256
    }

    /// The secret for SHA-512-256.
    pub fn sha512_256(&self) -> &str {
        &self.sha512_256
    }

    pub(crate) fn is_complete(&self) -> bool {
        [(&self.md5, 32), (&self.sha256, 64), (&self.sha512_256, 64)]
            .into_iter()
            .all(|(hash, len)| hash.len() == len && hash.bytes().all(|byte| byte.is_ascii_hexdigit()))
    }
}

impl fmt::Debug for Ha1Set {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Ha1Set(…)")
    }
}

/// A password under the key file's seal, as it is stored: base64 of nonce and ciphertext.
#[derive(Clone, PartialEq, Eq)]
pub struct Sealed(String);

impl Sealed {
    /// Takes what the store holds.
    pub fn from_stored(text: String) -> Sealed {
        Sealed(text)
    }

    /// What the store holds.
    pub fn as_stored(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Sealed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Sealed(…)")
    }
}

/// The key that seals passwords: 32 random bytes in a file that only its owner may read.
pub struct KeyFile {
    cipher: XChaCha20Poly1305,
    /// What [`derive`](KeyFile::derive) starts from; never the sealing key itself.
    root: [u8; 32],
}

impl KeyFile {
    /// Reads the key, and makes the file, with mode 0600, when there is none.
    ///
    /// # Errors
    /// [`SecretError`] when the file cannot be read or made, when others than its owner may read it, or when it does not hold a key.
    pub fn open(path: &Path) -> Result<KeyFile, SecretError> {
        let failed = |source| SecretError::File { path: path.to_owned(), source };
        let file = match fs::File::open(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                create(path)?;
                fs::File::open(path).map_err(failed)?
            }
            opened => opened.map_err(failed)?,
        };
        let mode = file.metadata().map_err(failed)?.mode() & 0o777;
        if mode & 0o077 != 0 {
            return Err(SecretError::TooOpen { path: path.to_owned(), mode });
        }
        let mut key = Vec::with_capacity(KEY_BYTES);
        io::Read::read_to_end(&mut io::Read::take(&file, 2 * KEY_BYTES as u64), &mut key).map_err(failed)?;
        let cipher = XChaCha20Poly1305::new_from_slice(&key)
            .map_err(|_| SecretError::NotAKey { path: path.to_owned() });
        let root = Sha256::new().chain_update(&key).chain_update(b"centrex6 derived keys").finalize().into();
        key.fill(0);
        black_box(&key);
        Ok(KeyFile { cipher: cipher?, root })
    }

    /// A key for another purpose than sealing, the same on every node that has this file.
    pub fn derive(&self, purpose: &str) -> [u8; 32] {
        Sha256::new().chain_update(self.root).chain_update(purpose.as_bytes()).finalize().into()
    }

    /// Seals a password. It opens again only for the same user.
    ///
    /// # Errors
    /// [`SecretError::Random`] when the system gives no random bytes.
    pub fn seal(&self, auth_user: &str, password: &Password) -> Result<Sealed, SecretError> {
        let nonce = random::<NONCE_BYTES>()?;
        let payload = Payload { msg: password.reveal().as_bytes(), aad: auth_user.as_bytes() };
        let sealed = self.cipher.encrypt(&XNonce::from(nonce), payload).map_err(|_| SecretError::Seal)?;
        Ok(Sealed(STANDARD.encode([nonce.as_slice(), &sealed].concat())))
    }

    /// Opens a sealed password.
    ///
    /// # Errors
    /// [`SecretError::Seal`] when it was sealed with another key or for another user, or was changed.
    pub fn unseal(&self, auth_user: &str, sealed: &Sealed) -> Result<Password, SecretError> {
        let bytes = STANDARD.decode(&sealed.0).map_err(|_| SecretError::Seal)?;
        let (nonce, msg) = bytes.split_first_chunk::<NONCE_BYTES>().ok_or(SecretError::Seal)?;
        let payload = Payload { msg, aad: auth_user.as_bytes() };
        let password = self.cipher.decrypt(&XNonce::from(*nonce), payload).map_err(|_| SecretError::Seal)?;
        String::from_utf8(password).map(Password).map_err(|_| SecretError::Seal)
    }
}

impl fmt::Debug for KeyFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("KeyFile(…)")
    }
}

/// What can go wrong with keys and seals.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SecretError {
    /// The key file could not be read or made.
    #[error("key file {}: {source}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// Others than the owner may read the key file.
    #[error("key file {}: its mode is {mode:04o}, so others may read it: run chmod 600 on it", path.display())]
    TooOpen {
        /// The file.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// The file holds something else than a key.
    #[error("key file {}: it does not hold a key of 32 bytes", path.display())]
    NotAKey {
        /// The file.
        path: PathBuf,
    },
    /// The seal does not open.
    #[error("the sealed password does not open: it was sealed with another key file or for another user")]
    Seal,
    /// The system gave no random bytes.
    #[error("the system gives no random bytes")]
    Random,
}

/// Writes the key beside its place and links it in, so that nobody ever reads half a key.
fn create(path: &Path) -> Result<(), SecretError> {
    let failed = |source| SecretError::File { path: path.to_owned(), source };
    let mut key = random::<KEY_BYTES>()?;
    let beside = path.with_added_extension(format!("new-{}", std::process::id()));
    let made = fs::OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(&beside)
        .and_then(|mut file| file.write_all(&key).and_then(|()| file.sync_all()))
        .and_then(|()| fs::hard_link(&beside, path));
    key.fill(0);
    black_box(&key);
    // Left behind or never made: either way there is nothing more to do about it.
    let _ = fs::remove_file(&beside);
    match made {
        // Another process was faster; its key is as good.
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists && path.exists() => Ok(()),
        made => made.map_err(failed),
    }
}

fn random<const N: usize>() -> Result<[u8; N], SecretError> {
    let mut bytes = [0; N];
    getrandom::fill(&mut bytes).map_err(|_| SecretError::Random)?;
    Ok(bytes)
}

/// 32 signs, so that a byte modulo 32 is fair.
const ALPHABET: &[u8; 32] = b"abcdefghijkmnpqrstuvwxyz23456789";
const KEY_BYTES: usize = 32;
const NONCE_BYTES: usize = 24;

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn ha1_agrees_with_the_rfcs() {
        // RFC 7616 §3.9.1 gives responses; its A1 "Mufasa:http-auth@example.org:Circle of Life" hashes to these.
        let ha1 = Ha1Set::of("Mufasa", "http-auth@example.org", &Password::new("Circle of Life"));
        assert_eq!(ha1.md5(), "3d78807defe7de2157e2b0b6573a855f");
        assert_eq!(ha1.sha256(), "7987c64c30e25f1b74be53f966b49b90f2808aa92faf9a00262392d7b4794232");
        assert_eq!(ha1.sha512_256(), "fb174f5c3c7802721517cae13b98e2b8dae2e0118cb705d94ee29946319204ce");
        assert!(ha1.is_complete());
        // RFC 2617 §3.5.
        let ha1 = Ha1Set::of("Mufasa", "testrealm@host.com", &Password::new("Circle Of Life"));
        assert_eq!(ha1.md5(), "939e7578ed9e3c518a452acee763bce9");
    }

    #[test]
    fn a_seal_opens_for_its_user_and_key_only() {
        let dir = tempfile::tempdir().expect("a directory");
        let key = KeyFile::open(&dir.path().join("key")).expect("a key");
        let sealed = key.seal("s042-101", &Password::new("pässword")).expect("sealed");
        assert_ne!(
            sealed,
            key.seal("s042-101", &Password::new("pässword")).expect("sealed"),
            "no nonce twice"
        );
        let again = KeyFile::open(&dir.path().join("key")).expect("the same key");
        assert_eq!(again.unseal("s042-101", &sealed).expect("open").reveal(), "pässword");
        assert!(matches!(key.unseal("s042-102", &sealed), Err(SecretError::Seal)));
        let other = KeyFile::open(&dir.path().join("other")).expect("a key");
        assert!(matches!(other.unseal("s042-101", &sealed), Err(SecretError::Seal)));
        for broken in ["", "?", "c2hvcnQ="] {
            assert!(matches!(key.unseal("s042-101", &Sealed(broken.to_owned())), Err(SecretError::Seal)));
        }
    }

    #[test]
    fn a_key_file_is_for_its_owner_alone() {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("key");
        KeyFile::open(&path).expect("a key");
        assert_eq!(fs::metadata(&path).expect("made").permissions().mode() & 0o777, 0o600);
        assert_eq!(fs::read_dir(dir.path()).expect("listed").count(), 1);
        fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).expect("chmod");
        assert!(matches!(KeyFile::open(&path), Err(SecretError::TooOpen { mode: 0o644, .. })));
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).expect("chmod");
        fs::write(&path, b"short").expect("written");
        assert!(matches!(KeyFile::open(&path), Err(SecretError::NotAKey { .. })));
    }

    #[test]
    fn passwords_are_random_and_redacted() {
        let (one, two) = (generate_password().expect("random"), generate_password().expect("random"));
        assert_ne!(one, two);
        assert_eq!(one.reveal().len(), 20);
        assert!(!format!("{one:?} {one}").contains(one.reveal()));
    }
}
