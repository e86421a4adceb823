//! `[node]`: who this process is and what it does.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use super::reader::Section;

/// `[node]`.
#[derive(Debug, Clone, PartialEq)]
pub struct Node {
    /// Names the node in logs, metrics and the store.
    pub name: String,
    /// What the process does; never empty, nothing twice.
    pub roles: Vec<Role>,
    /// Workers of each role; 0 stands for the number of cores.
    pub workers: usize,
    /// Where `/live`, `/ready` and `/metrics` are served.
    pub admin_listen: SocketAddr,
    /// The socket over which the command line talks to the running node.
    pub admin_socket: PathBuf,
    /// The key that seals passwords.
    pub key_file: PathBuf,
    /// Where what must last is kept.
    pub data_dir: PathBuf,
    /// How long a draining node waits for its calls to end.
    pub drain_limit: Duration,
}

impl Node {
    /// Whether the process plays `role`.
    pub fn plays(&self, role: Role) -> bool {
        self.roles.contains(&role)
    }

    pub(super) fn read(section: &mut Section<'_, '_>) -> Self {
        let default = Node::default();
        let data_dir = section.parsed("data_dir", default.data_dir);
        let node = Node {
            name: section.text("name", &default.name),
            roles: section.list("roles", default.roles),
            workers: section.integer("workers", default.workers, 0..=MAX_WORKERS),
            admin_listen: section.parsed("admin_listen", default.admin_listen),
            admin_socket: section.parsed_or_empty("admin_socket", data_dir.join(ADMIN_SOCKET)),
            key_file: section.parsed_or_empty("key_file", data_dir.join(KEY_FILE)),
            drain_limit: section.seconds("drain_limit_s", default.drain_limit, 0..=7 * 24 * 3600),
            data_dir,
        };
        if node.name.is_empty()
            || !node.name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte))
        {
            section.refuse("name", "must be letters, digits, '-', '_' and '.', at least one");
        }
        if node.roles.is_empty() {
            section.refuse("roles", "must name at least one role");
        }
        if node.roles.iter().enumerate().any(|(i, role)| node.roles.iter().take(i).any(|other| other == role))
        {
            section.refuse("roles", "names a role twice");
        }
        node
    }
}

impl Default for Node {
    fn default() -> Self {
        let data_dir = PathBuf::from("/var/lib/centrex6");
        Node {
            name: "node1".to_owned(),
            roles: vec![Role::RegistrarProxy, Role::Translator, Role::Watch],
            workers: 0,
            admin_listen: SocketAddr::from((Ipv4Addr::LOCALHOST, 9060)),
            admin_socket: data_dir.join(ADMIN_SOCKET),
            key_file: data_dir.join(KEY_FILE),
            data_dir,
            drain_limit: Duration::from_secs(3600),
        }
    }
}

/// What a process does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Role {
    /// Registers phones and routes their requests.
    RegistrarProxy,
    /// Joins IPv6 and IPv4 call legs and relays their media.
    Translator,
    /// Lets sites log in by DTCP and gives each its tunnel.
    TunnelBroker,
    /// Holds the central ends of the tunnels.
    TunnelServer,
    /// Asks phones and IADs whether they live, and raises alarms.
    Watch,
}

impl Role {
    /// As the configuration writes it.
    pub fn as_str(self) -> &'static str {
        match self {
            Role::RegistrarProxy => "registrar-proxy",
            Role::Translator => "translator",
            Role::TunnelBroker => "tunnel-broker",
            Role::TunnelServer => "tunnel-server",
            Role::Watch => "watch",
        }
    }
}

/// No role has this name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("unknown role {0:?}: expected registrar-proxy, translator, tunnel-broker, tunnel-server or watch")]
pub struct UnknownRole(String);

impl FromStr for Role {
    type Err = UnknownRole;

    fn from_str(word: &str) -> Result<Self, Self::Err> {
        ALL_ROLES.into_iter().find(|role| role.as_str() == word).ok_or_else(|| UnknownRole(word.to_owned()))
    }
}

const ALL_ROLES: [Role; 5] =
    [Role::RegistrarProxy, Role::Translator, Role::TunnelBroker, Role::TunnelServer, Role::Watch];
const ADMIN_SOCKET: &str = "admin.sock";
const KEY_FILE: &str = "key";
/// A worker's number must fit the two hex digits of our identifiers.
const MAX_WORKERS: usize = 256;
