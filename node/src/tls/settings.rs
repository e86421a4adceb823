//! rustls's settings for both ends of a connection.

use std::sync::{Arc, OnceLock};

use rustls::crypto::{CryptoProvider, ring};
use rustls::server::WebPkiClientVerifier;
use rustls::{
    ClientConfig, ConfigBuilder, RootCertStore, ServerConfig, SupportedProtocolVersion, WantsVerifier,
    version,
};

use super::TlsError;
use super::files::{Identity, authorities, system_authorities};
use crate::config::{self, TlsVersion};

/// What the files held at one time.
pub(super) struct Loaded {
    /// Asks clients for nothing.
    server: Option<Arc<ServerConfig>>,
    /// Asks clients for a certificate.
    asking: Option<Arc<ServerConfig>>,
    gateways: Gateways,
}

/// How we connect. Made when it is first wanted: most nodes connect to nobody, and the system's authorities are many.
struct Gateways {
    config: config::Tls,
    made: OnceLock<Result<Arc<ClientConfig>, Arc<TlsError>>>,
    authorities: Option<Arc<RootCertStore>>,
}

impl Loaded {
    pub(super) fn read(config: &config::Tls) -> Result<Loaded, TlsError> {
        let (server, asking) = match (&config.certificate, &config.key) {
            (Some(certificate), Some(key)) => {
                let identity = || Identity::read(("tls.certificate", certificate), ("tls.key", key));
                let bad = |source| TlsError::Certificate {
                    key: "tls.certificate",
                    path: certificate.clone(),
                    source,
                };
                let Identity { chain, key } = identity()?;
                let plain =
                    server(config)?.with_no_client_auth().with_single_cert(chain, key).map_err(bad)?;
                let asking = match &config.client_ca {
                    Some(path) => {
                        let roots = authorities("tls.client_ca", path)?;
                        let verifier = WebPkiClientVerifier::builder_with_provider(roots, provider())
                            .allow_unauthenticated()
                            .build()
                            .map_err(|error| TlsError::Authority {
                                key: "tls.client_ca",
                                path: path.clone(),
                                source: rustls::Error::General(error.to_string()),
                            })?;
                        let Identity { chain, key } = identity()?;
                        let asking = server(config)?
                            .with_client_cert_verifier(verifier)
                            .with_single_cert(chain, key)
                            .map_err(bad)?;
                        Some(finished(asking)?)
                    }
                    None => None,
                };
                (Some(finished(plain)?), asking)
            }
            _ => (None, None),
        };
        let authorities = match &config.gateway_ca {
            Some(path) => Some(authorities("tls.gateway_ca", path)?),
            None => None,
        };
        // A bad file is told at once, not when the first gateway asks.
        if config.client_certificate.is_some() {
            shown(config)?;
        }
        let gateways = Gateways { config: config.clone(), made: OnceLock::new(), authorities };
        Ok(Loaded { server, asking, gateways })
    }

    /// Settings toward clients.
    pub(super) fn server(&self, asks_clients: bool) -> Option<Arc<ServerConfig>> {
        self.asking.clone().filter(|_| asks_clients).or_else(|| self.server.clone())
    }

    /// Settings toward servers.
    pub(super) fn client(&self) -> Result<Arc<ClientConfig>, Arc<TlsError>> {
        self.gateways.made.get_or_init(|| self.gateways.make().map(Arc::new).map_err(Arc::new)).clone()
    }
}

impl Gateways {
    fn make(&self) -> Result<ClientConfig, TlsError> {
        let roots = self.authorities.clone().unwrap_or_else(system_authorities);
        if roots.is_empty() {
            return Err(TlsError::NoAuthorities);
        }
        let builder = ClientConfig::builder_with_provider(provider())
            .with_protocol_versions(versions(&self.config))
            .map_err(TlsError::Setup)?
            .with_root_certificates(roots);
        Ok(match shown(&self.config)? {
            Some((Identity { chain, key }, path)) => builder
                .with_client_auth_cert(chain, key)
                .map_err(|source| TlsError::Certificate { key: "tls.client_certificate", path, source })?,
            None => builder.with_no_client_auth(),
        })
    }
}

/// What we show servers, and the certificate's file.
fn shown(config: &config::Tls) -> Result<Option<(Identity, std::path::PathBuf)>, TlsError> {
    let own = (config.client_certificate.as_ref(), config.client_key.as_ref());
    let (names, files) = match own {
        (Some(certificate), Some(key)) => {
            (("tls.client_certificate", "tls.client_key"), Some((certificate, key)))
        }
        _ => (("tls.certificate", "tls.key"), config.certificate.as_ref().zip(config.key.as_ref())),
    };
    let Some((certificate, key)) = files else { return Ok(None) };
    let identity = Identity::read((names.0, certificate), (names.1, key))?;
    Ok(Some((identity, certificate.clone())))
}

fn server(config: &config::Tls) -> Result<ConfigBuilder<ServerConfig, WantsVerifier>, TlsError> {
    ServerConfig::builder_with_provider(provider())
        .with_protocol_versions(versions(config))
        .map_err(TlsError::Setup)
}

/// Sessions are resumed by tickets, so that a whole town of phones comes back cheaply and costs no memory meanwhile.
fn finished(mut settings: ServerConfig) -> Result<Arc<ServerConfig>, TlsError> {
    settings.ticketer = ring::Ticketer::new().map_err(TlsError::Setup)?;
    settings.session_storage = Arc::new(rustls::server::NoServerSessionStorage {});
    settings.send_tls13_tickets = 1;
    Ok(Arc::new(settings))
}

fn provider() -> Arc<CryptoProvider> {
    static PROVIDER: OnceLock<Arc<CryptoProvider>> = OnceLock::new();
    Arc::clone(PROVIDER.get_or_init(|| Arc::new(ring::default_provider())))
}

fn versions(config: &config::Tls) -> &'static [&'static SupportedProtocolVersion] {
    match config.min_version {
        TlsVersion::V1_2 => FROM_1_2,
        TlsVersion::V1_3 => FROM_1_3,
    }
}

static FROM_1_2: &[&SupportedProtocolVersion] = &[&version::TLS13, &version::TLS12];
static FROM_1_3: &[&SupportedProtocolVersion] = &[&version::TLS13];
