//! Collects evidence: from the running agent, or by a short login of its own.

use std::collections::BTreeSet;
use std::io;
use std::net::{Ipv6Addr, SocketAddrV4, SocketAddrV6};
use std::path::Path;
use std::time::Duration;

use dorm_provisioning::identity;
use ipnet::Ipv6Net;
use nix::net::if_::if_indextoname;
use tokio::time::timeout;

use super::super::advert::{AdvertSocket, Message};
use super::super::client::{End, Event};
use super::super::dial;
use super::super::kernel::{Kernel, KernelError};
use super::super::lan::router_address;
use super::super::run::{SOMEWHERE, outgoing_address};
use super::super::session::{News, Sessions};
use super::super::settings::Settings;
use super::super::status::{self, AskError, Failure, LanStatus, OtherRouter, Stage, Status};
use super::judge::{Evidence, Granted, LanSeen, LineSeen, LoginSeen, SipSeen, TunnelSeen};
use super::probe::{self, Echo, Mayflies};
use super::{Report, sip};

/// Why nothing could be checked.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CheckError {
    /// No agent runs here, and nobody said what to log in with.
    #[error(
        "{source}, and broker, account and LAN were not given: give them as for `centrex6 iad`, or start the agent"
    )]
    NothingKnown {
        /// Where the agent was looked for.
        source: AskError,
    },
    /// The agent could not be asked.
    #[error(transparent)]
    Ask(AskError),
    /// The kernel could not be asked.
    #[error(transparent)]
    Kernel(#[from] KernelError),
    /// The process lacks a privilege.
    #[error("raw sockets are not permitted: run the check as root ({source})")]
    NotPermitted {
        /// What the system said.
        source: io::Error,
    },
}

/// Checks the eight steps. The running agent behind `socket` is asked; without one, a short login is made with `settings`, which takes the account's
/// tunnel away from a box that is logged in with it elsewhere.
///
/// # Errors
/// [`CheckError`] when nothing could be checked at all.
pub async fn check(settings: Option<&Settings>, socket: &Path) -> Result<Report, CheckError> {
    probe::permitted().map_err(|source| CheckError::NotPermitted { source })?;
    let kernel = Kernel::connect()?;
    let evidence = match (status::ask(socket).await, settings) {
        (Ok(status), _) => of_agent(&kernel, status, socket).await,
        (Err(AskError::NotRunning { .. }), Some(settings)) => of_login(&kernel, settings).await,
        (Err(source @ AskError::NotRunning { .. }), None) => return Err(CheckError::NothingKnown { source }),
        (Err(error), _) => return Err(CheckError::Ask(error)),
    };
    Ok(evidence.judge())
}

/// What the running agent knows, and what can be tried beside it.
async fn of_agent(kernel: &Kernel, agent: Status, socket: &Path) -> Evidence {
    let line = line(kernel, agent.login.remote).await;
    let granted = agent.site.as_ref().map(|site| Granted {
        prefix: site.prefix,
        server: site.server,
        local: site.local,
        seen_as: site.seen_as,
    });
    let login = match (agent.login.stage, agent.login.failure.clone(), granted.clone()) {
        (Stage::LoggedIn, _, Some(granted)) => LoginSeen::In(granted),
        (_, Some(failure), Some(granted)) => LoginSeen::Lost(failure, granted),
        (_, Some(failure), None) => LoginSeen::Failed(failure),
        (_, None, _) => LoginSeen::Waiting,
    };
    let source = agent.lans.iter().find_map(|lan| lan.address);
    let target = agent.sip.map(|sip| *sip.ip());
    let through = async {
        match (&granted, source, &agent.tunnel) {
            (Some(granted), Some(source), Some(_)) => through_tunnel(granted, source, target).await,
            _ => TunnelSeen::NotTried,
        }
    };
    let sip = async {
        match (agent.sip, source, &agent.tunnel) {
            (_, _, None) | (_, None, _) => SipSeen::NotTried,
            (None, ..) => SipSeen::Nowhere,
            (Some(centre), Some(source), Some(_)) => ask_centre(source, centre).await,
        }
    };
    let lans = async {
        let mut seen = Vec::new();
        for lan in &agent.lans {
            seen.push(look_at_lan(kernel, lan.clone()).await);
        }
        seen
    };
    let (tunnel, sip, lans) = tokio::join!(through, sip, lans);
    let came_out = |agent: &Status| agent.tunnel.as_ref().map(|tunnel| tunnel.packets_in);
    let carried = status::ask(socket).await.is_ok_and(|after| came_out(&after) > came_out(&agent));
    Evidence { agent: Some(agent), line, login, lans, tunnel, carried, sip }
}

/// What a login of our own brings to light. Nothing is set up on this box.
async fn of_login(kernel: &Kernel, settings: &Settings) -> Evidence {
    let mut sessions = Sessions::start(settings);
    let (login, remote) = log_in(&mut sessions).await;
    let sip = match &login {
        LoginSeen::In(_) => where_sip_is(&mut sessions).await,
        _ => None,
    };
    let tunnel = match &login {
        LoginSeen::In(granted) => {
            let vlan = settings.lans.first().map_or(0, |lan| lan.vlan);
            match identity::vlan_prefix(granted.prefix, vlan) {
                Ok(subnet) => past_routing(granted, router_address(subnet), sip).await,
                Err(_) => TunnelSeen::NotTried,
            }
        }
        _ => TunnelSeen::NotTried,
    };
    sessions.quit().await;
    let remote = match remote {
        Some(remote) => Some(remote),
        None => dial::resolve(&settings.broker).await.ok().and_then(|all| all.first().copied()),
    };
    let line = line(kernel, remote).await;
    Evidence { agent: None, line, login, lans: Vec::new(), tunnel, carried: false, sip: SipSeen::NotTried }
}

/// Follows one try to log in to its end.
async fn log_in(sessions: &mut Sessions) -> (LoginSeen, Option<SocketAddrV4>) {
    let mut stage = Stage::Dialling;
    let mut ends = None;
    let failed = |stage, cause: String, remedy: &str| {
        LoginSeen::Failed(Failure { stage, cause, remedy: remedy.into() })
    };
    let tried = timeout(PATIENCE, async {
        loop {
            match sessions.news.recv().await {
                Some(News::Connected { local, remote }) => {
                    ends = Some((local, remote));
                    stage = Stage::Connected;
                }
                Some(News::Unreachable(error)) => return failed(stage, error.to_string(), error.remedy()),
                Some(News::Event(Event::Greeted)) => stage = Stage::Greeted,
                Some(News::Event(Event::Granted(granted))) => {
                    let local = ends.map_or(granted.client, |(local, _)| local);
                    let (prefix, server, seen_as) = (granted.prefix, granted.server, granted.client);
                    return LoginSeen::In(Granted { prefix, server, local, seen_as });
                }
                Some(News::Event(Event::Ended(end))) => return failed(stage, end.to_string(), end.remedy()),
                Some(News::Event(Event::Centre(_))) => {}
                None => return failed(stage, End::Closed.to_string(), End::Closed.remedy()),
            }
        }
    });
    let login = tried.await.unwrap_or(LoginSeen::Waiting);
    (login, ends.map(|(_, remote)| remote))
}

/// Waits for the broker's word about the centre; an old broker has none.
async fn where_sip_is(sessions: &mut Sessions) -> Option<Ipv6Addr> {
    let told = timeout(CENTRE, async {
        loop {
            match sessions.news.recv().await? {
                News::Event(Event::Centre(centre)) => return Some(*centre.sip?.ip()),
                News::Event(Event::Ended(_)) => return None,
                _ => {}
            }
        }
    });
    told.await.ok().flatten()
}

async fn line(kernel: &Kernel, remote: Option<SocketAddrV4>) -> Option<LineSeen> {
    let local = outgoing_address(remote.unwrap_or(SOMEWHERE))?;
    let route = kernel.ipv4_default_route().await.ok().flatten();
    let (gateway, index) = route.map_or((None, None), |(gateway, index)| (gateway, Some(index)));
    let interface =
        index.and_then(|index| if_indextoname(index).ok()).and_then(|name| name.into_string().ok());
    Some(LineSeen { local, gateway, interface })
}

/// A packet as the kernel routes it; when nobody answers, one past our own routing.
async fn through_tunnel(granted: &Granted, source: Ipv6Addr, target: Option<Ipv6Addr>) -> TunnelSeen {
    match probe::through_routes(&mayflies(granted.prefix, source, target)).await {
        Ok(Some(by)) => TunnelSeen::Answered(by),
        Ok(None) | Err(_) => match past_routing(granted, source, target).await {
            TunnelSeen::Answered(by) => TunnelSeen::OnlyDirectly(by),
            other => other,
        },
    }
}

async fn past_routing(granted: &Granted, source: Ipv6Addr, target: Option<Ipv6Addr>) -> TunnelSeen {
    match probe::directly(&mayflies(granted.prefix, source, target), granted.server).await {
        Ok(Some(by)) => TunnelSeen::Answered(by),
        Ok(None) => TunnelSeen::Silent { error: None },
        Err(error) => TunnelSeen::Silent { error: Some(error) },
    }
}

fn mayflies(prefix: Ipv6Net, source: Ipv6Addr, target: Option<Ipv6Addr>) -> Mayflies {
    let identifier = rand::random();
    let targets = target.into_iter().chain([probe::next_door(prefix)]);
    let echoes = targets.map(|target| Echo { identifier, source, target }).collect();
    Mayflies { echoes, inside: prefix }
}

async fn ask_centre(source: Ipv6Addr, centre: SocketAddrV6) -> SipSeen {
    match sip::options(source, centre, rand::random()).await {
        Ok(Some(line)) => SipSeen::Answered(centre, line),
        // An error is what a router or the system says about it: nobody answers there.
        Ok(None) | Err(_) => SipSeen::Silent(centre),
    }
}

/// Who is on the LAN: devices with an address of ours, and other routers.
async fn look_at_lan(kernel: &Kernel, mut lan: LanStatus) -> LanSeen {
    let (Some(address), Ok(interface)) = (lan.address, kernel.interface(&lan.interface).await) else {
        return LanSeen { lan, phones: 0 };
    };
    let subnet = Ipv6Net::new_assert(address, 64);
    let nodes = probe::all_nodes(interface.index, address, rand::random());
    let routers = other_routers(&lan, interface.index);
    let (nodes, routers) = tokio::join!(nodes, routers);
    let mut nodes: BTreeSet<Ipv6Addr> = nodes.unwrap_or_default();
    let known = kernel.neighbours().await.unwrap_or_default();
    let here = known.iter().filter(|it| it.resolved && it.interface == interface.index);
    nodes.extend(here.map(|it| it.address).filter(|it| subnet.contains(it)));
    for router in routers {
        lan.others.retain(|known| known.address != router.address);
        lan.others.push(router);
    }
    LanSeen { lan, phones: nodes.len() }
}

/// Asks for advertisements as a host does. Our own agent does not hear the question; when it leaves the advertising to another program
/// on this box, that one does.
async fn other_routers(lan: &LanStatus, interface: u32) -> Vec<OtherRouter> {
    let mut routers = Vec::new();
    let Ok(socket) = AdvertSocket::open(&lan.interface, interface, None) else { return routers };
    let is_heard_here = lan.advertises || socket.loop_back().is_ok();
    if !is_heard_here || socket.solicit().await.is_err() {
        return routers;
    }
    let _ = probe::within_listening(async {
        while let Ok((source, message)) = socket.receive().await {
            if let Message::Advertisement(said) = message
                && routers.len() < MAX_ROUTERS
                && routers.iter().all(|known: &OtherRouter| known.address != source)
            {
                routers.push(OtherRouter::new(source, &said, 0));
            }
        }
    })
    .await;
    routers
}

/// How long the broker's word about the centre is waited for.
const CENTRE: Duration = Duration::from_secs(2);
/// How long one try to log in may take: longer than each of its stages.
const PATIENCE: Duration = Duration::from_secs(90);
const MAX_ROUTERS: usize = 8;
