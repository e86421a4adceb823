//! Why nothing could be sent to a peer, as the last attempt saw it.

use std::collections::VecDeque;
use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use sip_core::flow::Transport;

/// Why a peer could not be reached.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Trouble {
    /// Nothing listens there: TCP was reset, or ICMP said that the port is closed.
    Refused,
    /// The network has no way there.
    Unreachable,
    /// No connection came about in time.
    Late,
    /// The TLS handshake was not over in time.
    HandshakeLate,
    /// Its certificate's time is over.
    CertificateExpired,
    /// Its certificate's time has not begun.
    CertificateNotYetValid,
    /// Its certificate is for another name.
    CertificateName,
    /// Nobody whom we trust has issued its certificate.
    CertificateUnknown,
    /// It did not like our certificate, or wanted one.
    CertificateRefused,
    /// The TLS handshake failed otherwise.
    Handshake(String),
    /// This node has no certificate, which TLS needs.
    NoCertificate,
    /// The name was not found in the DNS.
    NameNotFound(String),
    /// The message is too large for the path.
    TooLarge,
    /// The connection ended before the message was out.
    Closed,
    /// Something else.
    Other(String),
}

impl Trouble {
    /// What an error of a socket or of the TLS library means.
    pub fn of(error: &io::Error) -> Trouble {
        if let Some(tls) = error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>()) {
            return of_tls(tls);
        }
        match error.kind() {
            io::ErrorKind::ConnectionRefused => Trouble::Refused,
            io::ErrorKind::HostUnreachable | io::ErrorKind::NetworkUnreachable => Trouble::Unreachable,
            io::ErrorKind::TimedOut => Trouble::Late,
            io::ErrorKind::ConnectionReset
            | io::ErrorKind::ConnectionAborted
            | io::ErrorKind::BrokenPipe
            | io::ErrorKind::UnexpectedEof => Trouble::Closed,
            _ if error.raw_os_error() == Some(EMSGSIZE) => Trouble::TooLarge,
            _ => Trouble::Other(super::clean(&error.to_string())),
        }
    }
}

fn of_tls(error: &rustls::Error) -> Trouble {
    use rustls::{AlertDescription as Alert, CertificateError as Certificate, Error};
    match error {
        Error::InvalidCertificate(Certificate::Expired | Certificate::ExpiredContext { .. }) => {
            Trouble::CertificateExpired
        }
        Error::InvalidCertificate(Certificate::NotValidYet | Certificate::NotValidYetContext { .. }) => {
            Trouble::CertificateNotYetValid
        }
        Error::InvalidCertificate(
            Certificate::NotValidForName | Certificate::NotValidForNameContext { .. },
        ) => Trouble::CertificateName,
        // Bad when somebody else bears the name of an authority that we trust.
        Error::InvalidCertificate(Certificate::UnknownIssuer | Certificate::BadSignature) => {
            Trouble::CertificateUnknown
        }
        Error::AlertReceived(
            Alert::BadCertificate
            | Alert::CertificateExpired
            | Alert::CertificateRequired
            | Alert::CertificateUnknown
            | Alert::CertificateRevoked
            | Alert::UnknownCA
            | Alert::AccessDenied,
        ) => Trouble::CertificateRefused,
        other => Trouble::Handshake(super::clean(&other.to_string())),
    }
}

impl fmt::Display for Trouble {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Trouble::Refused => "connection refused (nothing listens there)",
            Trouble::Unreachable => "the network has no way there (unreachable)",
            Trouble::Late => "no connection came about in time (connect time-out)",
            Trouble::HandshakeLate => "the TLS handshake was not over in time",
            Trouble::CertificateExpired => "its TLS certificate has expired",
            Trouble::CertificateNotYetValid => "its TLS certificate is not valid yet",
            Trouble::CertificateName => "its TLS certificate is for another name",
            Trouble::CertificateUnknown => "its TLS certificate comes from an authority that we do not trust",
            Trouble::CertificateRefused => "it refused our TLS certificate",
            Trouble::NoCertificate => "this node has no TLS certificate",
            Trouble::TooLarge => "the message is too large for the path",
            Trouble::Closed => "it closed the connection",
            Trouble::Handshake(what) => return write!(f, "the TLS handshake failed ({what})"),
            Trouble::NameNotFound(name) => return write!(f, "the name {name} was not found in the DNS"),
            Trouble::Other(what) => return write!(f, "transport error ({what})"),
        })
    }
}

/// The latest trouble with each of some peers: what a machine that was told only "not sent" says why. Clones are the same.
#[derive(Debug, Clone, Default)]
pub struct Troubles(Arc<Mutex<VecDeque<(Transport, SocketAddr, Trouble)>>>);

impl Troubles {
    /// Notes why a peer could not be reached; the oldest note makes room.
    pub fn note(&self, transport: Transport, remote: SocketAddr, trouble: Trouble) {
        let mut known = self.locked();
        known.retain(|(old, address, _)| (*old, *address) != (transport, remote));
        if known.len() >= MOST_PEERS {
            known.pop_front();
        }
        known.push_back((transport, remote, trouble));
    }

    /// Why a peer could not be reached when it was tried last.
    pub fn of(&self, transport: Transport, remote: SocketAddr) -> Option<Trouble> {
        let known = self.locked();
        let found = known.iter().rev().find(|(old, address, _)| (*old, *address) == (transport, remote));
        found.map(|(.., trouble)| trouble.clone())
    }

    fn locked(&self) -> MutexGuard<'_, VecDeque<(Transport, SocketAddr, Trouble)>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Peers that are remembered: gateways are few.
const MOST_PEERS: usize = 128;
/// Linux: the message does not fit.
const EMSGSIZE: i32 = 90;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_have_names() {
        let of = |kind: io::ErrorKind| Trouble::of(&kind.into());
        assert_eq!(of(io::ErrorKind::ConnectionRefused), Trouble::Refused);
        assert_eq!(of(io::ErrorKind::NetworkUnreachable), Trouble::Unreachable);
        let tls = rustls::Error::InvalidCertificate(rustls::CertificateError::Expired);
        assert_eq!(Trouble::of(&io::Error::other(tls)), Trouble::CertificateExpired);
        assert_eq!(Trouble::of(&io::Error::from_raw_os_error(EMSGSIZE)), Trouble::TooLarge);
    }

    #[test]
    fn the_latest_trouble_is_kept_and_their_number_is_bounded() {
        let (troubles, at) = (Troubles::default(), |port| SocketAddr::from(([192, 0, 2, 1], port)));
        troubles.note(Transport::Tls, at(1), Trouble::CertificateName);
        troubles.note(Transport::Tls, at(1), Trouble::CertificateExpired);
        assert_eq!(troubles.of(Transport::Tls, at(1)), Some(Trouble::CertificateExpired));
        assert_eq!(troubles.of(Transport::Tcp, at(1)), None);
        (2..=300).for_each(|port| troubles.note(Transport::Tcp, at(port), Trouble::Refused));
        assert_eq!(troubles.of(Transport::Tls, at(1)), None);
        assert_eq!(troubles.locked().len(), MOST_PEERS);
    }
}
