//! A certificate authority for tests, of this crate and of others.

use std::fs;
use std::path::{Path, PathBuf};

use rcgen::{
    BasicConstraints, Certificate, CertificateParams, CertifiedIssuer, DnType, ExtendedKeyUsagePurpose, IsCa,
    KeyPair, SanType, date_time_ymd,
};

/// An authority that nobody but the test trusts.
pub struct Authority {
    issuer: CertifiedIssuer<'static, KeyPair>,
}

impl Authority {
    /// An authority of this name.
    pub fn new(name: &str) -> Authority {
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().expect("ring makes keys");
        Authority { issuer: CertifiedIssuer::self_signed(params, key).expect("the parameters are sound") }
    }

    /// A certificate for host names, addresses and URIs, and its key.
    pub fn issue(&self, subjects: &[&str]) -> (Certificate, KeyPair) {
        self.issue_until(subjects, 4096)
    }

    /// The same, good until the beginning of a year.
    pub fn issue_until(&self, subjects: &[&str], year: i32) -> (Certificate, KeyPair) {
        let mut params = CertificateParams::default();
        params.not_after = date_time_ymd(year, 1, 1);
        params.extended_key_usages =
            vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
        let text = |subject: &str| subject.try_into().expect("subjects are ASCII");
        let name = |subject: &&str| match subject.parse() {
            Ok(ip) => SanType::IpAddress(ip),
            Err(_) if subject.contains(':') => SanType::URI(text(subject)),
            Err(_) => SanType::DnsName(text(subject)),
        };
        params.subject_alt_names = subjects.iter().map(name).collect();
        let key = KeyPair::generate().expect("ring makes keys");
        (params.signed_by(&key, &self.issuer).expect("the parameters are sound"), key)
    }

    /// Writes a certificate for these subjects to `<name>.pem`, and its key to `<name>.key`.
    pub fn write(&self, folder: &Path, name: &str, subjects: &[&str]) -> (PathBuf, PathBuf) {
        let (certificate, key) = self.issue(subjects);
        let files = (folder.join(format!("{name}.pem")), folder.join(format!("{name}.key")));
        fs::write(&files.0, certificate.pem()).expect("the folder can be written");
        fs::write(&files.1, key.serialize_pem()).expect("the folder can be written");
        files
    }

    /// Writes the authority's own certificate to `<name>.pem`.
    pub fn write_own(&self, folder: &Path, name: &str) -> PathBuf {
        let file = folder.join(format!("{name}.pem"));
        fs::write(&file, self.issuer.pem()).expect("the folder can be written");
        file
    }
}
