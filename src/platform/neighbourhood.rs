//! Who lives at an address, by what is in memory.

use std::net::{IpAddr, Ipv6Addr};
use std::sync::Arc;

use ipnet::{IpNet, Ipv6Net};
use node::config::Config;
use node::listener::Listener;
use node::sources::Neighbourhood;
use registrar::Locations;
use schema::Directory;

/// Registered phones, sites, trunks, the platform's own nodes, and networks that the carrier trusts.
pub(super) struct Neighbours {
    directory: Arc<Directory>,
    locations: Arc<Locations>,
    trusted: Vec<IpNet>,
}

impl Neighbours {
    pub(super) fn new(config: &Config, directory: Arc<Directory>, locations: Arc<Locations>) -> Neighbours {
        let role = &config.registrar_proxy;
        let own = |listener: &Listener| IpNet::from(listener.addr.ip());
        let trusted = config.admission.trusted.iter().chain(&role.trusted_translators).copied();
        let trusted =
            trusted.chain(role.translators.iter().map(own)).chain(config.translator.proxy.iter().map(own));
        Neighbours { directory, locations, trusted: trusted.collect() }
    }
}

impl Neighbourhood for Neighbours {
    fn is_known(&self, address: IpAddr) -> bool {
        self.locations.has_source(address)
            || self.trusted.iter().any(|network| network.contains(&address))
            || self.directory.trunks().iter().any(|trunk| {
                trunk.may_signal_from(address)
                    || trunk.gateways.iter().any(|gateway| gateway.address.ip() == address)
            })
    }

    fn is_shared(&self, network: Ipv6Addr) -> bool {
        let Ok(network) = Ipv6Net::new(network, 64) else { return true };
        let has_part = |prefix: Ipv6Net| prefix.contains(&network) || network.contains(&prefix);
        self.locations.has_network(network.network())
            || self.directory.sites().iter().filter_map(|site| site.prefix).any(has_part)
    }
}
