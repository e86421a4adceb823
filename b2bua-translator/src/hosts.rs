//! Gateways that are known by name: the DNS is asked where they are (RFC 3263), by one worker for all, and again when its answer is old.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use node::dns::{DnsError, Located};
use schema::{Gateway, GatewayHost, GatewayTransport};
use sip_core::core::{Output, TimerId, Token};
use sip_core::flow::Transport;
use sip_core::locate::Wanted;
use tracing::{info, warn};

use crate::env::Env;
use crate::question::Question;

/// Asks for the gateways' names of all enabled trunks, each in its own time.
#[derive(Debug, Default)]
pub(crate) struct Hosts {
    due: HashMap<GatewayHost, Instant>,
    asked: HashMap<Token, GatewayHost>,
    next: u64,
}

impl Hosts {
    /// Asks for what it is time to ask for, and sets the timer for the next.
    pub(crate) fn tick(&mut self, env: &mut Env) {
        let trunks = env.directory.trunks();
        let hosts = trunks.iter().filter(|trunk| trunk.enabled).flat_map(|trunk| trunk.hosts.iter());
        let mut hosts: Vec<GatewayHost> = hosts.take(MAX_HOSTS).cloned().collect();
        self.due.retain(|host, _| hosts.contains(host));
        env.trunks.keep_only_hosts(&hosts);
        hosts.retain(|host| !self.asked.values().any(|asked| asked == host));
        for host in hosts {
            if *self.due.entry(host.clone()).or_insert(env.now) <= env.now {
                let token = Token(TOKENS | self.next);
                self.next += 1;
                self.due.insert(host.clone(), env.now + AGAIN);
                env.out.push_back(Output::Ask(token, Question::Locate(wanted(&host))));
                self.asked.insert(token, host);
            }
        }
        // New trunks are found without being told.
        let soonest = self.due.values().min().copied().unwrap_or(env.now + LOOK).min(env.now + LOOK);
        env.out.push_back(Output::SetTimer(TIMER, Some(soonest)));
    }

    /// Whether the answer is one of ours.
    pub(crate) fn has_asked(&self, token: Token) -> bool {
        self.asked.contains_key(&token)
    }

    /// Takes an answer. What was known stays in use while nobody answers.
    pub(crate) fn answered(&mut self, env: &mut Env, token: Token, answer: Result<Located, DnsError>) {
        let Some(host) = self.asked.remove(&token) else { return };
        let again = match answer {
            Ok(Located { hops, valid_for }) => {
                let gateways = hops.into_iter().filter_map(|hop| {
                    let transport = gateway_transport(hop.transport)?;
                    let gateway = Gateway { transport, address: hop.addr };
                    env.settings.outside(hop.addr.ip()).map(|_| gateway)
                });
                let gateways: Vec<Gateway> = gateways.collect();
                if gateways.is_empty() {
                    warn!(%host, "the gateway's name leads to no address of a family that we listen on");
                } else if !env.trunks.has_same(&host, &gateways) {
                    info!(%host, ?gateways, "the gateway's name was looked up");
                }
                env.trunks.set_host(&host, gateways);
                valid_for.min(SHUFFLE)
            }
            Err(error) => {
                warn!(%host, %error, "the gateway's name was not found");
                if matches!(error, DnsError::Unknown(_)) {
                    env.trunks.set_host(&host, Vec::new());
                }
                AGAIN
            }
        };
        let at = env.now + again;
        if let Some(due) = self.due.get_mut(&host) {
            *due = at;
        }
        self.tick(env);
    }
}

/// How names of gateways are spoken to; every one of them can be connected to.
pub(crate) const USABLE: [Transport; 3] = [Transport::Udp, Transport::Tcp, Transport::Tls];

fn wanted(host: &GatewayHost) -> Wanted {
    let transport = host.transport.map(|transport| match transport {
        GatewayTransport::Udp => Transport::Udp,
        GatewayTransport::Tcp => Transport::Tcp,
        GatewayTransport::Tls => Transport::Tls,
    });
    Wanted { host: host.host.clone(), port: host.port, transport }
}

fn gateway_transport(transport: Transport) -> Option<GatewayTransport> {
    match transport {
        Transport::Udp => Some(GatewayTransport::Udp),
        Transport::Tcp => Some(GatewayTransport::Tcp),
        Transport::Tls => Some(GatewayTransport::Tls),
        Transport::Ws | Transport::Wss => None,
    }
}

/// The timer for names; calls count from 1, so that none of theirs is equal.
pub(crate) const TIMER: TimerId = TimerId(6);
/// Marks the tokens of our questions: those of calls count from zero.
const TOKENS: u64 = 1 << 63;
/// Names that are asked for.
const MAX_HOSTS: usize = 256;
/// How soon a trunk that was added is seen.
const LOOK: Duration = Duration::from_secs(2);
/// How soon a name that was not found is asked for again.
const AGAIN: Duration = Duration::from_secs(10);
/// How long one order of servers of equal priority is kept (RFC 2782): what the resolver remembers is put in order anew.
const SHUFFLE: Duration = Duration::from_secs(30);
