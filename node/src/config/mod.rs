//! Configuration: a TOML file, environment overrides, and validated types, one file a section.
//!
//! It is read twice: first as spans and values ([`reader`]), then as the types of each section, so that every error is
//! found in one go and says where it is. [`default_toml`] is the reference of all keys.

mod admission;
mod dial_plan;
mod dns;
mod error;
mod log;
mod node;
mod reader;
mod registrar_proxy;
mod sip;
mod store;
mod tls;
mod trace;
mod translator;
mod tunnel_broker;
mod tunnel_server;
mod watch;

use std::path::Path;

pub use self::admission::Admission;
pub use self::dial_plan::DialPlan;
pub use self::dns::Dns;
pub use self::error::{ConfigError, ConfigErrors, Place};
pub use self::log::{Log, LogFormat};
pub use self::node::{Node, Role};
pub use self::registrar_proxy::{DigestAlgorithm, HostPort, RegistrarProxy};
pub use self::sip::{Sip, StreamLimits};
pub use self::store::{Store, StoreUrl};
pub use self::tls::{Tls, TlsVersion};
pub use self::trace::Trace;
pub use self::translator::{PortRange, Translator};
pub use self::tunnel_broker::TunnelBroker;
pub use self::tunnel_server::TunnelServer;
pub use self::watch::Watch;

use self::reader::Document;
use crate::listener::Listener;

/// Everything that a node is told.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Config {
    /// `[node]`: who this process is and what it does.
    pub node: Node,
    /// `[store]`: where things are kept.
    pub store: Store,
    /// `[sip]`: what all roles share of SIP.
    pub sip: Sip,
    /// `[tls]`: certificates, and whom we trust.
    pub tls: Tls,
    /// `[admission]`: how much is taken, and from whom.
    pub admission: Admission,
    /// `[registrar_proxy]`: the role of that name.
    pub registrar_proxy: RegistrarProxy,
    /// `[dial_plan]`: what dialled digits mean.
    pub dial_plan: DialPlan,
    /// `[translator]`: the role of that name.
    pub translator: Translator,
    /// `[tunnel_broker]`: the role of that name.
    pub tunnel_broker: TunnelBroker,
    /// `[tunnel_server]`: the role of that name.
    pub tunnel_server: TunnelServer,
    /// `[watch]`: the role of that name.
    pub watch: Watch,
    /// `[dns]`: who is asked for names.
    pub dns: Dns,
    /// `[trace]`: which SIP messages are remembered, and where copies go.
    pub trace: Trace,
    /// `[log]`: what is logged, and how.
    pub log: Log,
}

impl Config {
    /// Reads `path`, or nothing but the defaults without one, under the overrides in the process's environment.
    ///
    /// # Errors
    ///
    /// Everything that is wrong, not only the first.
    pub fn load(path: Option<&Path>) -> Result<Self, ConfigErrors> {
        // A variable that is not Unicode can be none of ours: our names and values are.
        let environment = std::env::vars_os()
            .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)));
        let text = match path {
            Some(path) => std::fs::read_to_string(path)
                .map_err(|source| ConfigErrors(vec![ConfigError::Read { path: path.to_owned(), source }]))?,
            None => String::new(),
        };
        Config::parse(&text, path, environment)
    }

    /// Reads `text` under the overrides in `environment`; `path` is only named in errors.
    ///
    /// # Errors
    ///
    /// Everything that is wrong, not only the first.
    pub fn parse(
        text: &str,
        path: Option<&Path>,
        environment: impl IntoIterator<Item = (String, String)>,
    ) -> Result<Self, ConfigErrors> {
        let (config, errors, _) = read(text, path, environment);
        if errors.is_empty() { Ok(config) } else { Err(ConfigErrors(errors)) }
    }
}

/// The default configuration as a file in which every key is documented.
pub fn default_toml() -> &'static str {
    include_str!("default.toml")
}

fn read(
    text: &str,
    path: Option<&Path>,
    environment: impl IntoIterator<Item = (String, String)>,
) -> (Config, Vec<ConfigError>, Vec<(&'static str, &'static str)>) {
    let mut document = Document::parse(text, path, environment);
    let node = Node::read(&mut document.section("node"));
    let config = Config {
        store: Store::read(&mut document.section("store"), &node.data_dir),
        sip: Sip::read(&mut document.section("sip")),
        tls: Tls::read(&mut document.section("tls")),
        admission: Admission::read(&mut document.section("admission")),
        registrar_proxy: RegistrarProxy::read(&mut document.section("registrar_proxy")),
        dial_plan: DialPlan::read(&mut document.section("dial_plan")),
        translator: Translator::read(&mut document.section("translator")),
        tunnel_broker: TunnelBroker::read(&mut document.section("tunnel_broker"), &node),
        tunnel_server: TunnelServer::read(&mut document.section("tunnel_server"), &node),
        watch: Watch::read(&mut document.section("watch")),
        dns: Dns::read(&mut document.section("dns")),
        trace: Trace::read(&mut document.section("trace")),
        log: Log::read(&mut document.section("log")),
        node,
    };
    check_listeners(&config, &mut document);
    let (errors, known) = document.finish();
    (config, errors, known)
}

/// Listeners with TLS need a certificate, which stands in a section of its own.
fn check_listeners(config: &Config, document: &mut Document<'_>) {
    if config.tls.certificate.is_some() {
        return;
    }
    let of = |listeners: &[Listener]| listeners.iter().any(|listener| listener.transport.is_secure());
    let lists: [(&'static str, &'static str, &[Listener]); 3] = [
        ("registrar_proxy", "listen", &config.registrar_proxy.listen),
        ("translator", "listen_ipv6", &config.translator.listen_ipv6),
        ("translator", "listen_ipv4", &config.translator.listen_ipv4),
    ];
    for (section, key, listeners) in lists {
        if of(listeners) {
            document.section(section).refuse(key, "a listener with TLS needs tls.certificate and tls.key");
        }
    }
}

#[cfg(test)]
mod tests;
