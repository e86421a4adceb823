//! The names that a certificate vouches for (RFC 5922).

use std::sync::Arc;

use rustls::pki_types::{CertificateDer, InvalidDnsNameError, ServerName};
use sip_core::wire::Uri;
use webpki::EndEntityCert;

/// The SIP domains of a certificate that was checked (RFC 5922 §7.1): the hosts of its `sip:` URIs, or else its DNS names. In lower
/// case; a wildcard stands for nothing (§7.2).
pub(crate) fn names_of(certificate: &CertificateDer<'_>) -> Arc<[String]> {
    let Ok(certificate) = EndEntityCert::try_from(certificate) else { return Arc::new([]) };
    let uris: Vec<String> = certificate.valid_uri_names().filter_map(domain_of).take(MOST_NAMES).collect();
    if !uris.is_empty() {
        return uris.into();
    }
    let names = certificate.valid_dns_names().filter(|name| !name.starts_with('*'));
    names.map(str::to_ascii_lowercase).take(MOST_NAMES).collect()
}

/// Whether a server's certificate, already checked for one name, is valid for another one as well.
pub(crate) fn is_valid_for(certificate: &CertificateDer<'_>, name: &ServerName<'_>) -> bool {
    let certificate = EndEntityCert::try_from(certificate);
    certificate.is_ok_and(|certificate| certificate.verify_is_valid_for_subject_name(name).is_ok())
}

/// A host name or address as rustls wants it.
pub(crate) fn server_name(name: &str) -> Result<ServerName<'static>, InvalidDnsNameError> {
    ServerName::try_from(name.to_owned())
}

fn domain_of(uri: &str) -> Option<String> {
    let uri = uri.parse::<Uri>().ok()?;
    let uri = uri.sip().filter(|uri| uri.user.is_none())?;
    Some(uri.host_port.host.to_string().to_ascii_lowercase())
}

/// Names of one certificate that are looked at.
const MOST_NAMES: usize = 32;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tls::testing::Authority;

    /// RFC 5922 §7.1: the host of a sip URI comes before DNS names.
    /// RFC 5922 §7.2: a wildcard names no SIP domain.
    #[test]
    fn the_names_of_a_certificate() {
        let authority = Authority::new("Carrier");
        let names = |subjects: &[&str]| names_of(authority.issue(subjects).0.der()).to_vec();
        assert_eq!(names(&["GW1.example.net", "gw2.example.net"]), ["gw1.example.net", "gw2.example.net"]);
        assert_eq!(names(&["gw1.example.net", "sip:Carrier.example.net"]), ["carrier.example.net"]);
        assert_eq!(names(&["*.example.net", "sip:alice@example.net", "http://example.net"]), [""; 0]);
        assert!(names_of(&CertificateDer::from(vec![1, 2, 3])).is_empty());
    }

    #[test]
    fn a_server_is_valid_for_its_names_and_addresses() {
        let (certificate, _) = Authority::new("Carrier").issue(&["gw.example.net", "192.0.2.1"]);
        for (name, expected) in
            [("gw.example.net", true), ("192.0.2.1", true), ("gw2.example.net", false), ("192.0.2.2", false)]
        {
            assert_eq!(is_valid_for(certificate.der(), &server_name(name).unwrap()), expected, "{name}");
        }
        assert!(server_name("not a name").is_err());
    }
}
