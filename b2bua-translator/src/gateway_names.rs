//! Whose certificate a gateway must show.

use std::net::SocketAddr;
use std::sync::Arc;

use node::tls::ServerNames;
use schema::{Directory, GatewayTransport};

use crate::core::Shared;
use crate::trunks::TrunkStates;

/// The names of the trunks' gateways, by address.
#[derive(Debug, Clone)]
pub struct GatewayNames {
    directory: Arc<Directory>,
    trunks: Arc<TrunkStates>,
}

impl GatewayNames {
    /// Names as they stand in the directory at each handshake.
    pub fn new(shared: &Shared) -> GatewayNames {
        GatewayNames { directory: Arc::clone(&shared.directory), trunks: Arc::clone(&shared.trunks) }
    }
}

impl ServerNames for GatewayNames {
    /// Of every enabled trunk that has a TLS gateway there: one connection serves them all.
    fn names(&self, remote: SocketAddr) -> Vec<String> {
        let mut names = Vec::new();
        for trunk in self.directory.trunks().into_iter().filter(|trunk| trunk.enabled) {
            for (gateway, host) in self.trunks.gateways_of(&trunk) {
                if gateway.transport != GatewayTransport::Tls || gateway.address != remote {
                    continue;
                }
                // RFC 5922 §4: the name that was looked for, and none that the DNS said instead.
                let host = || host.map_or_else(|| remote.ip().to_string(), |host| host.host);
                let name = trunk.certificate_name.clone().unwrap_or_else(host);
                if !names.contains(&name) {
                    names.push(name);
                }
            }
        }
        names
    }
}

#[cfg(test)]
mod tests {
    use schema::{Change, Trunk, TrunkId};

    use super::*;

    #[test]
    fn a_gateway_has_the_names_of_its_trunks() {
        let directory = Arc::new(Directory::default());
        for (id, gateway, name) in [
            (1, "tls:192.0.2.1:5061", Some("gw.example.net")),
            (2, "tls:192.0.2.1:5061", None),
            (3, "udp:192.0.2.1:5061", Some("udp.example.net")),
            (4, "tls:192.0.2.2:5061", Some("other.example.net")),
        ] {
            let trunk = Trunk::new(&format!("t{id}"), vec![gateway.parse().unwrap()]).unwrap();
            let certificate_name = name.map(str::to_owned);
            directory.apply(&Change::PutTrunk(Trunk { id: TrunkId(id), certificate_name, ..trunk }));
        }
        let mut named = Trunk::draft("named", vec![], vec!["sip.example.net".parse().unwrap()]);
        (named.id, named.media_networks) = (TrunkId(5), vec!["192.0.2.0/24".parse().unwrap()]);
        let host = named.hosts[0].clone();
        directory.apply(&Change::PutTrunk(named));
        let shared = Shared::new(directory, node::explain::Troubles::default());
        let names = GatewayNames::new(&shared);
        shared.trunks.set_host(&host, vec!["tls:192.0.2.5:5061".parse().unwrap()]);
        assert_eq!(names.names("192.0.2.5:5061".parse().unwrap()), ["sip.example.net"]);
        assert_eq!(names.names("192.0.2.1:5061".parse().unwrap()), ["gw.example.net", "192.0.2.1"]);
        assert!(names.names("192.0.2.1:5060".parse().unwrap()).is_empty());
    }
}
