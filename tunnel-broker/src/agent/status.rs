//! How the running agent is: what it tells on its status socket. One question a connection, one answer, each a line; the answer is JSON.

use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddrV4, SocketAddrV6};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use ipnet::Ipv6Net;
use serde::{Deserialize, Serialize};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;
use tokio::time::timeout;

use super::advert::Advertisement;
use super::neighbours::{Fill, Level};

/// How the agent is. Times are seconds before now.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Status {
    /// The agent's version.
    pub version: String,
    /// The broker that it was told, `host:port`.
    pub broker: String,
    /// The account.
    pub user: String,
    /// Its way to the broker.
    pub login: LoginStatus,
    /// What the last login gave; it stands while the session is away, too.
    pub site: Option<SiteStatus>,
    /// The tunnel.
    pub tunnel: Option<TunnelStatus>,
    /// Why there is no tunnel although there is a site.
    pub tunnel_fault: Option<String>,
    /// The LANs.
    pub lans: Vec<LanStatus>,
    /// Why the kernel forwards no IPv6.
    pub forwarding_fault: Option<String>,
    /// How full the neighbour table is.
    pub neighbours: Option<NeighbourStatus>,
    /// The SIP centre, as the broker told.
    pub sip: Option<SocketAddrV6>,
    /// The DNS servers that the phones are told.
    pub dns: Vec<Ipv6Addr>,
    /// What was seen of SIP over UDP; nothing while the centre is not known.
    pub phones: Option<PhoneStatus>,
}

/// What was seen of SIP over UDP.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct PhoneStatus {
    /// Phones that the centre has let in (200 to REGISTER) within the last hour.
    pub registered: usize,
    /// Calls of phones here that were answered since the agent started.
    pub calls: u64,
    /// When the last one was answered.
    pub last_call: Option<u64>,
}

/// The way to the broker.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct LoginStatus {
    /// How far it is.
    pub stage: Stage,
    /// Since when the stage is the present one.
    pub since: u64,
    /// Our own address on the last connection.
    pub local: Option<Ipv4Addr>,
    /// The broker's address on the last connection.
    pub remote: Option<SocketAddrV4>,
    /// Why the last try failed or the last session ended; nothing while logged in.
    pub failure: Option<Failure>,
    /// Logins since the start.
    pub logins: u64,
}

/// How far the way to the broker is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Stage {
    /// No connection.
    Dialling,
    /// Connected; the broker has not greeted.
    Connected,
    /// It speaks DTCP.
    Greeted,
    /// Logged in.
    LoggedIn,
}

impl Stage {
    /// What is missing after this stage, for an installer.
    pub fn shortfall(self) -> &'static str {
        match self {
            Stage::Dialling => "the broker cannot be reached",
            Stage::Connected => "something answers, but not as a broker does",
            Stage::Greeted => "the broker was reached, but does not let us in",
            Stage::LoggedIn => "the session ended",
        }
    }
}

/// What went wrong, and what to do about it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Failure {
    /// How far the try came that failed.
    pub stage: Stage,
    /// What went wrong.
    pub cause: String,
    /// What to do about it.
    pub remedy: String,
}

/// What a login gave.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct SiteStatus {
    /// The site's prefix.
    pub prefix: Ipv6Net,
    /// The tunnel server.
    pub server: Ipv4Addr,
    /// Our end of the tunnel.
    pub local: Ipv4Addr,
    /// Our address as the broker sees it.
    pub seen_as: Ipv4Addr,
    /// Whether something between us and the broker changes addresses.
    pub behind_nat: bool,
    /// Whether phones are told that this box leads out.
    pub routes: bool,
}

/// The tunnel.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct TunnelStatus {
    /// The TUN device.
    pub device: String,
    /// Bytes.
    pub mtu: u16,
    /// Packets that came out of the tunnel and passed.
    pub packets_in: u64,
    /// Packets that went into it.
    pub packets_out: u64,
    /// Packets that were dropped.
    pub dropped: u64,
    /// When something last came out of it.
    pub heard: Option<u64>,
    /// Why the routes around it are missing.
    pub fault: Option<String>,
}

/// A LAN.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct LanStatus {
    /// The interface's name.
    pub interface: String,
    /// The VLAN's number.
    pub vlan: u16,
    /// Whether there is such an interface.
    pub exists: bool,
    /// Whether it is switched on.
    pub up: bool,
    /// Whether a cable is plugged in.
    pub carrier: bool,
    /// The box's address there.
    pub address: Option<Ipv6Addr>,
    /// Whether that can be used.
    pub address_state: Option<AddressState>,
    /// Whether the agent sends router advertisements here; otherwise another program does.
    pub advertises: bool,
    /// When the last router advertisement went out.
    pub advertised: Option<u64>,
    /// Neighbours with an address in this LAN's prefix that have answered.
    pub phones: u32,
    /// Other routers that advertise here.
    pub others: Vec<OtherRouter>,
    /// What is wrong.
    pub fault: Option<String>,
}

/// Whether an address can be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AddressState {
    /// It can.
    Ready,
    /// It is being found out whether somebody else has it.
    Tentative,
    /// Somebody else has it.
    Duplicate,
}

/// Another router on the LAN.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct OtherRouter {
    /// Its link-local address.
    pub address: Ipv6Addr,
    /// Its MAC, when it tells.
    pub mac: Option<String>,
    /// Whether it says that it leads out.
    pub routes: bool,
    /// From which prefixes hosts shall make addresses, as it says.
    pub prefixes: Vec<Ipv6Net>,
    /// When it was last heard.
    pub heard: u64,
}

impl OtherRouter {
    pub(super) fn new(address: Ipv6Addr, said: &Advertisement, heard: u64) -> OtherRouter {
        OtherRouter {
            address,
            mac: said.mac.map(|mac| mac.map(|octet| format!("{octet:02x}")).join(":")),
            routes: !said.router_lifetime.is_zero(),
            prefixes: said.prefixes.iter().filter(|it| !it.preferred.is_zero()).map(|it| it.prefix).collect(),
            heard,
        }
    }
}

/// The neighbour table.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub struct NeighbourStatus {
    /// How full it is.
    #[serde(flatten)]
    pub fill: Fill,
    /// What that means.
    pub level: Level,
}

/// Why the agent could not be asked.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum AskError {
    /// No agent runs here.
    #[error("no agent listens on {}", path.display())]
    NotRunning {
        /// The socket's file.
        path: PathBuf,
    },
    /// Its socket may not be used.
    #[error("{} may not be used: {source}; run this as root", path.display())]
    NotPermitted {
        /// The socket's file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The agent did not answer properly.
    #[error("the agent behind {} did not answer: {source}", path.display())]
    Broken {
        /// The socket's file.
        path: PathBuf,
        /// What is wrong.
        source: io::Error,
    },
}

/// Asks the agent behind `path` how it is.
///
/// # Errors
/// [`AskError::NotRunning`] when there is none.
pub async fn ask(path: &Path) -> Result<Status, AskError> {
    let stream = UnixStream::connect(path).await.map_err(|source| match source.kind() {
        io::ErrorKind::PermissionDenied => AskError::NotPermitted { path: path.to_owned(), source },
        _ => AskError::NotRunning { path: path.to_owned() },
    })?;
    let exchange = async {
        let mut stream = BufReader::new(stream);
        stream.write_all(QUESTION).await?;
        let mut line = String::new();
        stream.take(MAX_ANSWER).read_line(&mut line).await?;
        Ok(serde_json::from_str(&line)?)
    };
    let answer = timeout(PATIENCE, exchange).await.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()));
    answer.map_err(|source| AskError::Broken { path: path.to_owned(), source })
}

/// Serves the status socket until it is dropped; then the socket's file is gone.
pub(super) struct StatusSocket {
    path: PathBuf,
    task: JoinHandle<()>,
    /// Who wants to know.
    pub(super) questions: mpsc::Receiver<oneshot::Sender<Status>>,
}

impl StatusSocket {
    /// Listens. A file that a dead agent left is replaced; a living one's is not.
    pub(super) async fn listen(path: &Path) -> io::Result<StatusSocket> {
        if UnixStream::connect(path).await.is_ok() {
            return Err(io::Error::new(io::ErrorKind::AddrInUse, "another agent runs here"));
        }
        let _ = std::fs::remove_file(path);
        let listener = UnixListener::bind(path)?;
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600))?;
        let (ask, questions) = mpsc::channel(1);
        let task = tokio::spawn(async move {
            loop {
                match listener.accept().await {
                    // One at a time is enough for an installer.
                    Ok((stream, _)) => {
                        let _ = timeout(PATIENCE, answer(stream, &ask)).await;
                    }
                    Err(error) => {
                        tracing::warn!(%error, "the status socket could not accept a connection");
                        tokio::time::sleep(Duration::from_millis(100)).await;
                    }
                }
            }
        });
        Ok(StatusSocket { path: path.to_owned(), task, questions })
    }
}

impl Drop for StatusSocket {
    fn drop(&mut self) {
        self.task.abort();
        let _ = std::fs::remove_file(&self.path);
    }
}

async fn answer(stream: UnixStream, ask: &mpsc::Sender<oneshot::Sender<Status>>) -> io::Result<()> {
    let mut stream = BufReader::new(stream);
    let mut line = String::new();
    (&mut stream).take(MAX_QUESTION).read_line(&mut line).await?;
    let (reply, answer) = oneshot::channel();
    ask.send(reply).await.map_err(io::Error::other)?;
    let status = answer.await.map_err(io::Error::other)?;
    let mut bytes = serde_json::to_vec(&status)?;
    bytes.push(b'\n');
    stream.write_all(&bytes).await
}

const QUESTION: &[u8] = b"status\n";
const MAX_QUESTION: u64 = 64;
const MAX_ANSWER: u64 = 256 * 1024;
const PATIENCE: Duration = Duration::from_secs(5);
