//! The two sockets: OPTIONS and echo.

use std::io;
use std::net::{IpAddr, Ipv6Addr, SocketAddr, UdpSocket};
use std::time::{Duration, Instant};

use super::{ServiceSettings, WatchError, echo, metrics, options};
use crate::io::{Method, Probe, Ticket};

/// Open, and not yet part of a runtime.
pub(super) struct Sockets {
    sip: UdpSocket,
    echo: Option<UdpSocket>,
    local: SocketAddr,
    user_agent: String,
}

/// At work.
pub(super) struct Asker {
    sip: tokio::net::UdpSocket,
    echo: Option<tokio::net::UdpSocket>,
    local: SocketAddr,
    user_agent: String,
    /// The address that we are seen by, and until when it is believed.
    seen_as: Option<(IpAddr, Instant)>,
    buffer: Vec<u8>,
}

/// Who answered.
#[derive(Debug, Clone, Copy)]
pub(super) struct Answer {
    pub(super) ticket: Ticket,
    pub(super) method: Method,
    pub(super) source: IpAddr,
}

impl Sockets {
    pub(super) fn open(settings: &ServiceSettings) -> Result<Sockets, WatchError> {
        let listen = settings.listen;
        let in_use = |source| WatchError::Listen { listen, source };
        let sip = UdpSocket::bind(listen).map_err(in_use)?;
        sip.set_nonblocking(true)?;
        let local = sip.local_addr()?;
        let from = match local.ip() {
            IpAddr::V6(from) => from,
            IpAddr::V4(_) => Ipv6Addr::UNSPECIFIED,
        };
        let echo = settings.watch.echo.then(|| echo::open(from)).and_then(|opened| {
            let refused = |error: &io::Error| {
                tracing::warn!(
                    %error,
                    "ICMPv6 echo is not permitted to this process: phones are watched by SIP OPTIONS alone and IADs not at all. \
                     Give it CAP_NET_RAW or a group in net.ipv4.ping_group_range"
                );
            };
            opened.inspect_err(refused).ok()
        });
        Ok(Sockets { sip, echo, local, user_agent: settings.user_agent.clone() })
    }

    pub(super) fn local(&self) -> SocketAddr {
        self.local
    }

    pub(super) fn can_echo(&self) -> bool {
        self.echo.is_some()
    }
}

impl Asker {
    pub(super) fn new(sockets: Sockets) -> io::Result<Asker> {
        let Sockets { sip, echo, local, user_agent } = sockets;
        Ok(Asker {
            sip: tokio::net::UdpSocket::from_std(sip)?,
            echo: echo.map(tokio::net::UdpSocket::from_std).transpose()?,
            local,
            user_agent,
            seen_as: None,
            buffer: vec![0; LARGEST],
        })
    }

    /// Asks. What cannot be sent stays without an answer, which is told like any silence.
    pub(super) fn ask(&mut self, now: Instant, probe: Probe) {
        let target = SocketAddr::from(probe.target);
        if probe.options {
            let request = options::request(probe.ticket, target, self.own(now, target), &self.user_agent);
            if let Err(error) = self.sip.try_send_to(&request, target) {
                metrics::count_unsent(Method::Options);
                tracing::debug!(%target, %error, "an OPTIONS could not be sent");
            }
        }
        if let Some(echo) = self.echo.as_ref().filter(|_| probe.echo) {
            let destination = echo::destination(*probe.target.ip());
            if let Err(error) = echo.try_send_to(&echo::request(probe.ticket), destination) {
                metrics::count_unsent(Method::Echo);
                tracing::debug!(%target, %error, "an echo request could not be sent");
            }
        }
    }

    /// Waits until somebody may have answered.
    pub(super) async fn readable(&self) {
        let failed = match &self.echo {
            None => self.sip.readable().await.is_err(),
            Some(echo) => tokio::select! {
                ready = self.sip.readable() => ready.is_err(),
                ready = echo.readable() => ready.is_err(),
            },
        };
        if failed {
            // Only a runtime that ends does that.
            std::future::pending::<()>().await;
        }
    }

    /// Reads what is there, at most a batch.
    pub(super) fn answers(&mut self) -> Vec<Answer> {
        let mut answers = Vec::new();
        for _ in 0..BATCH {
            match self.sip.try_recv_from(&mut self.buffer) {
                Ok((length, from)) => {
                    let ticket = self.buffer.get(..length).and_then(options::answered);
                    answers.extend(ticket.map(|ticket| Answer {
                        ticket,
                        method: Method::Options,
                        source: from.ip(),
                    }));
                }
                // An ICMP error of an earlier packet is read like a datagram.
                Err(error) if error.kind() != io::ErrorKind::WouldBlock => {}
                Err(_) => break,
            }
        }
        let Some(echo) = &self.echo else { return answers };
        for _ in 0..BATCH {
            match echo.try_recv_from(&mut self.buffer) {
                Ok((length, from)) => {
                    let ticket = self.buffer.get(..length).and_then(echo::answered);
                    answers.extend(ticket.map(|ticket| Answer {
                        ticket,
                        method: Method::Echo,
                        source: from.ip(),
                    }));
                }
                Err(error) if error.kind() != io::ErrorKind::WouldBlock => {}
                Err(_) => break,
            }
        }
        answers
    }

    /// Our address as phones see it, for Via and From. A socket on every address is asked which one leads there.
    fn own(&mut self, now: Instant, target: SocketAddr) -> SocketAddr {
        if !self.local.ip().is_unspecified() {
            return self.local;
        }
        if let Some((ip, until)) = self.seen_as
            && until > now
        {
            return SocketAddr::new(ip, self.local.port());
        }
        let route = || -> io::Result<IpAddr> {
            let socket = UdpSocket::bind((Ipv6Addr::UNSPECIFIED, 0))?;
            socket.connect(target)?;
            Ok(socket.local_addr()?.ip())
        };
        match route() {
            Ok(ip) => {
                self.seen_as = Some((ip, now + BELIEVED));
                SocketAddr::new(ip, self.local.port())
            }
            // Without a way there the request will not get far either.
            Err(_) => self.local,
        }
    }
}

/// The largest datagram, in bytes.
const LARGEST: usize = 65_535;
/// Datagrams that are read from a socket before others have their turn.
const BATCH: usize = 64;
/// How long our own address is believed.
const BELIEVED: Duration = Duration::from_secs(60);
