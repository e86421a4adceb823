//! The agent at work: sessions, tunnel, LANs and neighbours, tied together.

use std::io;
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4, UdpSocket};
use std::path::PathBuf;
use std::time::{Duration, Instant};

use dorm_provisioning::identity;
use futures_util::FutureExt;
use nix::net::if_::if_nametoindex;
use socket2::{Domain, Protocol, Socket, Type};
use tokio::sync::{mpsc, watch};
use tokio::time::{MissedTickBehavior, interval, sleep, sleep_until};

use super::client::{End, Event};
use super::in_full;
use super::kernel::{Kernel, KernelError, Neighbour};
use super::lan::{Heard, LanPort, Wanted, router_address};
use super::neighbours::{Fill, FillWatch, Level, kernel_capacity, kernel_overflows};
use super::raised::Raised;
use super::session::{News, Order, Sessions};
use super::settings::{BadSetting, Settings};
use super::sip_watch::SipWatch;
use super::site::Site;
use super::status::{
    Failure, LoginStatus, NeighbourStatus, PhoneStatus, SiteStatus, Stage, Status, StatusSocket, TunnelStatus,
};
use super::tap::{MAX_BYTES, Tap};
use crate::dtcp::{Centre, Granted, Report};
use crate::plane::routes::{RouteError, Routes};

/// Why the agent cannot run.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum AgentError {
    /// A setting cannot be.
    #[error(transparent)]
    Setting(#[from] BadSetting),
    /// The kernel cannot be asked.
    #[error(transparent)]
    Kernel(#[from] KernelError),
    /// The kernel's routing cannot be reached.
    #[error(transparent)]
    Routes(#[from] RouteError),
    /// The process lacks a privilege.
    #[error(
        "raw sockets are not permitted: the agent needs the capabilities CAP_NET_ADMIN and CAP_NET_RAW (run it as root): {source}"
    )]
    NotPermitted {
        /// What the system said.
        source: io::Error,
    },
    /// The status socket cannot be had.
    #[error("no status socket {}: {source}", path.display())]
    StatusSocket {
        /// Its file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
}

/// Runs the agent until `stop` comes, then takes back in order what it set up: the phones are told that the prefix ends, addresses and
/// routes are removed, the tunnel goes down, the session ends with `quit`. IPv6 forwarding stays switched on.
///
/// # Errors
/// [`AgentError`] when it cannot even begin. What goes wrong later is logged, told on the status socket and tried again.
pub async fn run(settings: Settings, stop: impl Future<Output = ()>) -> Result<(), AgentError> {
    settings.check()?;
    Socket::new(Domain::IPV6, Type::RAW, Some(Protocol::ICMPV6))
        .map_err(|source| AgentError::NotPermitted { source })?;
    let status = StatusSocket::listen(&settings.status_socket).await;
    let path = || settings.status_socket.clone();
    let status = status.map_err(|source| AgentError::StatusSocket { path: path(), source })?;
    let mut agent = Agent::start(settings)?;
    agent.work(status, stop).await;
    agent.end().await;
    Ok(())
}

struct Agent {
    settings: Settings,
    kernel: Kernel,
    routes: Routes,
    sessions: Sessions,
    /// The address from which packets to the broker left when that was last looked at.
    line: Option<Ipv4Addr>,
    site: Site,
    raised: Option<Raised>,
    tunnel_fault: Option<String>,
    lans: Vec<LanPort>,
    heard: mpsc::Receiver<Heard>,
    forwarding_fault: Option<String>,
    fill: FillWatch,
    overflows: Option<u64>,
    neighbours: Vec<Neighbour>,
    centre: Centre,
    sip: SipWatch,
    /// The look into the tunnel, and the device and port that it is for.
    tap: Option<(Tap, (u32, u16))>,
    login: Login,
}

/// The way to the broker.
struct Login {
    stage: Stage,
    since: Instant,
    /// Our address on the last connection; nothing when it was given up for another one.
    local: Option<Ipv4Addr>,
    /// The broker's address on the last connection.
    remote: Option<SocketAddrV4>,
    failure: Option<Failure>,
    logins: u64,
}

impl Agent {
    fn start(settings: Settings) -> Result<Agent, AgentError> {
        let now = Instant::now();
        let (heard_in, heard) = mpsc::channel(QUEUE);
        let lans = settings.lans.iter().cloned().enumerate();
        let lans = lans
            .map(|(number, lan)| LanPort::new(lan, number, settings.advertise, heard_in.clone()))
            .collect();
        tracing::info!(broker = %settings.broker, user = settings.user, "the agent starts");
        Ok(Agent {
            kernel: Kernel::connect()?,
            routes: Routes::open()?,
            sessions: Sessions::start(&settings),
            line: outgoing_address(SOMEWHERE),
            site: Site::new(now),
            raised: None,
            tunnel_fault: None,
            lans,
            heard,
            forwarding_fault: None,
            fill: FillWatch::default(),
            overflows: kernel_overflows(),
            neighbours: Vec::new(),
            centre: Centre::default(),
            sip: SipWatch::default(),
            tap: None,
            login: Login {
                stage: Stage::Dialling,
                since: now,
                local: None,
                remote: None,
                failure: None,
                logins: 0,
            },
            settings,
        })
    }

    async fn work(&mut self, mut status: StatusSocket, stop: impl Future<Output = ()>) {
        let mut stop = std::pin::pin!(stop);
        let mut changes = self.kernel.changes();
        let mut bytes = [0; MAX_BYTES];
        let mut look = interval(LOOK);
        look.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            let advert = self.lans.iter().filter_map(LanPort::deadline).min();
            tokio::select! {
                () = &mut stop => return,
                Some(news) = self.sessions.news.recv() => self.take(news).await,
                Some((number, source, message)) = self.heard.recv() => {
                    if let Some(lan) = self.lans.get_mut(number) {
                        lan.heard(Instant::now(), source, message);
                    }
                }
                packet = tapped(self.tap.as_ref(), &mut bytes) => match packet {
                    Ok(packet) => self.sip.see(Instant::now(), packet),
                    // The device is gone: the next look opens another one.
                    Err(_) => self.tap = None,
                },
                () = until(advert) => {
                    let now = Instant::now();
                    self.lans.iter_mut().for_each(|lan| lan.send_due(now));
                }
                () = changed(&mut changes) => {
                    self.check_line();
                    self.reconcile().await;
                }
                _ = look.tick() => {
                    self.reconcile().await;
                    self.look_at_neighbours().await;
                }
                Some(reply) = status.questions.recv() => {
                    self.look_at_neighbours().await;
                    self.see_what_waits(&mut bytes);
                    let _ = reply.send(self.status());
                }
            }
        }
    }

    /// Something came from the broker.
    async fn take(&mut self, news: News) {
        match news {
            News::Connected { local, remote } => {
                (self.login.local, self.login.remote) = (Some(local), Some(remote));
                self.login.reach(Stage::Connected);
            }
            News::Unreachable(error) => self.failed(error.to_string(), error.remedy().to_owned()),
            News::Event(Event::Greeted) => self.login.reach(Stage::Greeted),
            News::Event(Event::Granted(granted)) => self.granted(granted).await,
            News::Event(Event::Centre(centre)) => {
                self.sip.set_centre(centre.sip);
                self.centre = centre;
                self.reconcile().await;
            }
            News::Event(Event::Ended(end)) => {
                self.site.lost(Instant::now());
                match end {
                    End::Quit => {}
                    end => self.failed(end.to_string(), end.remedy().to_owned()),
                }
            }
        }
    }

    async fn granted(&mut self, granted: Granted) {
        let Some(local) = self.login.local else { return };
        self.login.reach(Stage::LoggedIn);
        self.login.failure = None;
        self.login.logins += 1;
        let before = self.site.standing();
        self.site.granted(granted, local);
        let Granted { client, server, prefix } = granted;
        tracing::info!(%prefix, %server, %local, seen_as = %client, "logged in");
        if self.site.standing().is_some_and(|standing| standing.is_behind_nat()) {
            tracing::warn!(
                "this box is behind a NAT ({local} is seen as {client}): the broadband router must forward IP protocol 41 to it"
            );
        }
        if before.is_some_and(|before| before.prefix != prefix) {
            tracing::warn!(%prefix, "the site has another prefix now: phones make new addresses and register again");
        }
        self.fill.forget_report();
        self.reconcile().await;
        self.look_at_neighbours().await;
    }

    fn failed(&mut self, cause: String, remedy: String) {
        let failure = Failure { stage: self.login.stage, cause, remedy };
        // The same every minute is one line in the log, not one a minute.
        if self.login.failure.as_ref() != Some(&failure) {
            tracing::warn!(remedy = failure.remedy, "no session with the broker: {}", failure.cause);
        }
        self.login.failure = Some(failure);
        self.login.reach(Stage::Dialling);
    }

    /// Dials anew when the way to the broker leaves from another address than before: after a renumbering, or when the line is back.
    fn check_line(&mut self) {
        let present = outgoing_address(self.login.remote.unwrap_or(SOMEWHERE));
        let before = std::mem::replace(&mut self.line, present);
        let session = self.login.local.filter(|_| self.login.stage != Stage::Dialling);
        if let Some(present) = present.filter(|present| Some(*present) != session.or(before)) {
            tracing::info!(%present, "the line has another address: logging in at once");
            self.sessions.order(Order::Redial);
            // One order is enough.
            self.login.local = None;
        }
    }

    /// Makes tunnel, routes and LANs what they shall be. Doing it again changes nothing.
    async fn reconcile(&mut self) {
        let now = Instant::now();
        self.forwarding_fault = forward().err();
        let standing = self.site.standing();
        if let Some(raised) =
            self.raised.take_if(|it| Some(it.standing().prefix) != standing.map(|it| it.prefix))
        {
            raised.lower(&self.routes).await;
        }
        if let Some(raised) = self.raised.take_if(|it| !it.is_running()) {
            tracing::error!("the tunnel's device is gone: raising the tunnel anew");
            raised.lower(&self.routes).await;
        }
        if let (Some(standing), None) = (standing, &self.raised) {
            let first = self.settings.lans.first().map_or(0, |lan| lan.vlan);
            let address = identity::vlan_prefix(standing.prefix, first).map(router_address);
            let address = address.unwrap_or(standing.prefix.network());
            let raised = Raised::raise(standing, address, self.settings.mtu);
            let fault = raised.as_ref().err().map(|error| in_full(error));
            if let Some(words) = fault.as_deref().filter(|words| self.tunnel_fault.as_deref() != Some(*words))
            {
                tracing::error!("the tunnel cannot be raised: {words}");
            }
            self.tunnel_fault = fault;
            self.raised = raised.ok();
        }
        if let Some(raised) = &mut self.raised {
            if let Some(standing) = standing.filter(|standing| *standing != raised.standing())
                && let Err(error) = raised.move_to(standing)
            {
                tracing::error!(%error, "the tunnel cannot be moved");
            }
            raised.route(&self.routes).await;
            self.site.heard(now, raised.traffic().packets_in);
        }
        self.tap_sip();
        let wanted = Wanted {
            prefix: standing.map(|standing| standing.prefix),
            routes: self.raised.is_some() && self.site.routes(now),
            dns: self.centre.dns.clone(),
            mtu: self.settings.mtu,
        };
        for lan in &mut self.lans {
            lan.reconcile(now, &self.kernel, &wanted).await;
        }
    }

    /// Looks at the centre's SIP as it comes out of the tunnel. Without that, the agent does everything else all the same.
    fn tap_sip(&mut self) {
        let device = self.raised.as_ref().and_then(|raised| if_nametoindex(raised.device()).ok());
        let wanted = device.zip(self.sip.port());
        if self.tap.as_ref().map(|(_, present)| *present) == wanted {
            return;
        }
        self.tap = wanted.and_then(|(device, port)| match Tap::open(device, port) {
            Ok(tap) => Some((tap, (device, port))),
            Err(error) => {
                tracing::debug!(%error, "what comes out of the tunnel cannot be looked at");
                None
            }
        });
    }

    /// Takes what the tap holds already, so that an answer is as fresh as it can be.
    fn see_what_waits(&mut self, bytes: &mut [u8; MAX_BYTES]) {
        let Some((tap, _)) = &self.tap else { return };
        while let Some(Ok(packet)) = tap.receive(bytes).now_or_never() {
            self.sip.see(Instant::now(), packet);
        }
    }

    async fn look_at_neighbours(&mut self) {
        self.neighbours = match self.kernel.neighbours().await {
            Ok(neighbours) => neighbours,
            Err(error) => return tracing::debug!(%error, "the neighbour table cannot be read"),
        };
        let mut entries = self.neighbours.iter().filter(|neighbour| neighbour.counts).count() as u32;
        let capacity = self.settings.neighbour_capacity.or_else(kernel_capacity).unwrap_or(0);
        let overflows = kernel_overflows();
        if overflows > std::mem::replace(&mut self.overflows, overflows) {
            // The kernel had to refuse an entry since the last look: whatever it threw out meanwhile, it was full.
            entries = entries.max(capacity);
        }
        let step = self.fill.look(Instant::now(), Fill { entries, capacity });
        match step.changed {
            Some(Level::Full) => tracing::error!(
                entries,
                capacity,
                "the neighbour table is full: further phones stay mute; {REMEDY}"
            ),
            Some(Level::Pressing) => {
                tracing::warn!(entries, capacity, "the neighbour table is nearly full; {REMEDY}")
            }
            Some(Level::Roomy) => tracing::info!(entries, capacity, "the neighbour table has room again"),
            None => {}
        }
        if step.report {
            self.sessions.order(Order::Report(Report { neighbours: entries, capacity }));
        }
    }

    async fn end(mut self) {
        tracing::info!("the agent stops: the prefix ends, the tunnel goes down");
        for lan in &mut self.lans {
            lan.end(&self.kernel).await;
        }
        if let Some(raised) = self.raised.take() {
            raised.lower(&self.routes).await;
        }
        self.sessions.quit().await;
        // RFC 4861 §6.2.5 allows three of them; a second one is for those that the first did not reach.
        self.lans.iter().for_each(LanPort::farewell);
    }

    fn status(&self) -> Status {
        let now = Instant::now();
        let ago = |then: Instant| now.saturating_duration_since(then).as_secs();
        Status {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            broker: self.settings.broker.to_string(),
            user: self.settings.user.clone(),
            login: self.login.status(now),
            site: self.site.standing().map(|standing| SiteStatus {
                prefix: standing.prefix,
                server: standing.outer.client,
                local: standing.outer.server,
                seen_as: standing.seen_as,
                behind_nat: standing.is_behind_nat(),
                routes: self.site.routes(now),
            }),
            tunnel: self.raised.as_ref().map(|raised| {
                let traffic = raised.traffic();
                TunnelStatus {
                    device: raised.device().to_owned(),
                    mtu: self.settings.mtu,
                    packets_in: traffic.packets_in,
                    packets_out: traffic.packets_out,
                    dropped: traffic.dropped,
                    heard: self.site.last_heard().map(ago),
                    fault: raised.fault().map(|error| in_full(error)),
                }
            }),
            tunnel_fault: self.tunnel_fault.clone(),
            lans: self.lans.iter().map(|lan| lan.status(now, &self.neighbours)).collect(),
            forwarding_fault: self.forwarding_fault.clone(),
            neighbours: self.fill.last().map(|fill| NeighbourStatus { fill, level: fill.level() }),
            sip: self.centre.sip,
            dns: self.centre.dns.clone(),
            phones: self.tap.as_ref().map(|_| {
                let (calls, last_call) = self.sip.calls();
                PhoneStatus { registered: self.sip.registered(now), calls, last_call: last_call.map(ago) }
            }),
        }
    }
}

impl Login {
    fn reach(&mut self, stage: Stage) {
        if self.stage != stage {
            (self.stage, self.since) = (stage, Instant::now());
        }
    }

    fn status(&self, now: Instant) -> LoginStatus {
        LoginStatus {
            stage: self.stage,
            since: now.saturating_duration_since(self.since).as_secs(),
            local: self.local,
            remote: self.remote,
            failure: self.failure.clone(),
            logins: self.logins,
        }
    }
}

/// Which of our addresses a packet to `remote` would leave from now.
pub(super) fn outgoing_address(remote: SocketAddrV4) -> Option<Ipv4Addr> {
    let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0)).ok()?;
    // Nothing is sent: this only asks for the route.
    socket.connect(remote).ok()?;
    match socket.local_addr().ok()? {
        SocketAddr::V4(local) => Some(*local.ip()),
        SocketAddr::V6(_) => None,
    }
}

/// Lets the kernel forward IPv6.
fn forward() -> Result<(), String> {
    let is_on = std::fs::read_to_string(FORWARDING).is_ok_and(|text| text.trim() == "1");
    if is_on {
        return Ok(());
    }
    std::fs::write(FORWARDING, "1").map_err(|error| format!("{FORWARDING} cannot be set to 1: {error}"))
}

async fn tapped<'a>(tap: Option<&(Tap, (u32, u16))>, bytes: &'a mut [u8; MAX_BYTES]) -> io::Result<&'a [u8]> {
    match tap {
        Some((tap, _)) => tap.receive(bytes).await,
        None => std::future::pending().await,
    }
}

async fn until(deadline: Option<Instant>) {
    match deadline {
        Some(deadline) => sleep_until(deadline.into()).await,
        None => std::future::pending().await,
    }
}

/// Waits until the kernel's interfaces, addresses or routes have changed, and a moment longer: changes come in swarms.
async fn changed(changes: &mut watch::Receiver<u64>) {
    if changes.changed().await.is_err() {
        return std::future::pending().await;
    }
    // Whoever stops waiting now shall hear of it the next time.
    changes.mark_changed();
    sleep(SWARM).await;
    changes.mark_unchanged();
}

/// What to do about a full neighbour table.
pub(super) const REMEDY: &str = "raise net.ipv6.neigh.default.gc_thresh3 (and gc_thresh1 and 2) on a Linux box, use a bigger router, or split the phones over two VLANs with a router each";

const FORWARDING: &str = "/proc/sys/net/ipv6/conf/all/forwarding";
/// Somewhere in the Internet, an anycast address that nobody has any more (RFC 7526): only the way there is asked for, nothing is sent.
pub(super) const SOMEWHERE: SocketAddrV4 =
    SocketAddrV4::new(Ipv4Addr::new(192, 88, 99, 1), crate::dtcp::PORT);
const QUEUE: usize = 64;
/// How often neighbours, interfaces and routes are looked at when nothing calls for it.
const LOOK: Duration = Duration::from_secs(10);
const SWARM: Duration = Duration::from_millis(20);
