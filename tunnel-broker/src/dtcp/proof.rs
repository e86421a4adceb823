//! The challenge and the hash that answers it.

use std::fmt;

use md5::{Digest, Md5};
use schema::secret::Password;
use subtle::ConstantTimeEq;

/// What a client has to hash with its password: 128 random bits, one an TCP connection.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Challenge([u8; 16]);

impl Challenge {
    /// A challenge from 16 random bytes; they must come from a source that nobody can predict.
    pub fn new(random: [u8; 16]) -> Challenge {
        Challenge(random)
    }

    /// The proof that a client with this user name and password gives: MD5(user ‖ challenge as sent ‖ password).
    pub fn proof(&self, user: &str, password: &Password) -> Proof {
        Proof::answer(user, &self.to_string(), password)
    }
}

/// As it is sent: 32 upper-case hexadecimal digits.
impl fmt::Display for Challenge {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex::encode_upper(self.0))
    }
}

impl fmt::Debug for Challenge {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Challenge({self})")
    }
}

/// The hash in a client's `tunnel` line. Compared in constant time, and never shown.
#[derive(Clone, Copy)]
pub struct Proof([u8; 16]);

impl Proof {
    /// The answer to a challenge in the words in which it came: a client hashes what the broker sent, in its case.
    pub fn answer(user: &str, challenge: &str, password: &Password) -> Proof {
        let hash = Md5::new()
            .chain_update(user.as_bytes())
            .chain_update(challenge.as_bytes())
            .chain_update(password.reveal().as_bytes())
            .finalize();
        Proof(hash.into())
    }

    /// Reads 32 hexadecimal digits of either case; KAME writes upper case, Feel6 lower case.
    pub fn parse(word: &[u8]) -> Option<Proof> {
        let mut bytes = [0; 16];
        hex::decode_to_slice(word, &mut bytes).ok()?;
        Some(Proof(bytes))
    }

    /// Whether the two are the same; takes as long either way.
    pub fn matches(&self, other: &Proof) -> bool {
        self.0.ct_eq(&other.0).into()
    }

    /// As a client sends it, in upper case like KAME's.
    pub fn to_hex(&self) -> String {
        hex::encode_upper(self.0)
    }
}

impl fmt::Debug for Proof {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Proof(…)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CHALLENGE: [u8; 16] = 0x0B15_17C8_7D51_6A5F_A65B_ED72_2D51_A04F_u128.to_be_bytes();

    #[test]
    fn the_test_vector_of_the_old_software_holds() {
        let challenge = Challenge::new(CHALLENGE);
        assert_eq!(challenge.to_string(), "0B1517C87D516A5FA65BED722D51A04F");
        let proof = challenge.proof("foo", &Password::new("bar"));
        assert_eq!(proof.to_hex(), "DAC487C8DFBBF9EE5C7F8CDCC37B62A3");
    }

    #[test]
    fn a_hash_is_read_in_either_case_and_only_when_it_is_one() {
        let proof = Challenge::new(CHALLENGE).proof("foo", &Password::new("bar"));
        for word in [
            "DAC487C8DFBBF9EE5C7F8CDCC37B62A3",
            "dac487c8dfbbf9ee5c7f8cdcc37b62a3",
            "dAc487C8dfbbf9ee5c7f8cdcc37b62A3",
        ] {
            assert!(Proof::parse(word.as_bytes()).unwrap().matches(&proof), "{word}");
        }
        for word in [
            "",
            "DAC4",
            "DAC487C8DFBBF9EE5C7F8CDCC37B62A",
            "DAC487C8DFBBF9EE5C7F8CDCC37B62A3A3",
            "zAC487C8DFBBF9EE5C7F8CDCC37B62A3",
        ] {
            assert!(Proof::parse(word.as_bytes()).is_none(), "{word}");
        }
        assert!(!Proof::parse(&[b'0'; 32]).unwrap().matches(&proof));
    }

    #[test]
    fn secrets_do_not_show() {
        assert_eq!(format!("{:?}", Proof([0x41; 16])), "Proof(…)");
    }
}
