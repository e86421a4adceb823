//! Binding: one socket a worker and listener, all of one listener on the same port.

use std::io;
use std::net::{IpAddr, SocketAddr, TcpListener, UdpSocket};

use sip_core::flow::Transport;
use socket2::{Domain, Protocol, Socket, Type};

use crate::listener::Listener;

/// The sockets of one worker, in the order of the listeners of their transport.
#[derive(Debug, Default)]
pub(crate) struct WorkerSockets {
    pub(crate) udp: Vec<UdpSocket>,
    pub(crate) streams: Vec<(Transport, TcpListener)>,
}

/// Why a listener could not be opened.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BindError {
    /// The address cannot be listened on.
    #[error("cannot listen on {listener}: {source}")]
    Listen {
        /// The listener.
        listener: Listener,
        /// Why.
        source: io::Error,
    },
}

/// Opens every listener for every worker. Gives the addresses that they got, and each worker's sockets.
///
/// The first socket of a listener is bound without `SO_REUSEPORT`, so that another process on the port, also one of the same user,
/// is an error and never shares our traffic; then it is opened to the other workers. Listeners with port 0 on one address get the
/// same port over all transports when it is free, because phones change the transport and keep the port.
pub(crate) fn bind(
    listeners: &[Listener],
    workers: usize,
) -> Result<(Vec<Listener>, Vec<WorkerSockets>), BindError> {
    let mut bound: Vec<Listener> = Vec::with_capacity(listeners.len());
    let mut sockets: Vec<WorkerSockets> = (0..workers).map(|_| WorkerSockets::default()).collect();
    for listener in listeners {
        let failed = |source| BindError::Listen { listener: *listener, source };
        let sibling =
            bound.iter().find(|other| listener.addr.port() == 0 && other.addr.ip() == listener.addr.ip());
        let same_port = sibling.and_then(|other| open_first(listener.transport, other.addr).ok());
        let first = match same_port {
            Some(socket) => socket,
            None => open_first(listener.transport, listener.addr).map_err(failed)?,
        };
        let addr = first.local_addr().map_err(failed)?.as_socket();
        let addr = addr.ok_or_else(|| failed(io::ErrorKind::AddrNotAvailable.into()))?;
        let mut first = Some(first);
        for worker in &mut sockets {
            let socket = match first.take() {
                Some(socket) => socket,
                None => open(listener.transport, addr, true).map_err(failed)?,
            };
            match listener.transport {
                Transport::Udp => worker.udp.push(socket.into()),
                transport => worker.streams.push((transport, listen(socket).map_err(failed)?)),
            }
        }
        bound.push(Listener { transport: listener.transport, addr });
    }
    Ok((bound, sockets))
}

fn open_first(transport: Transport, addr: SocketAddr) -> io::Result<Socket> {
    let socket = open(transport, addr, false)?;
    socket.set_reuse_port(true)?;
    Ok(socket)
}

fn open(transport: Transport, addr: SocketAddr, share: bool) -> io::Result<Socket> {
    let (kind, protocol) = match transport {
        Transport::Udp => (Type::DGRAM, Protocol::UDP),
        _ => (Type::STREAM, Protocol::TCP),
    };
    let socket = Socket::new(Domain::for_address(addr), kind, Some(protocol))?;
    socket.set_nonblocking(true)?;
    if addr.is_ipv6() {
        // Each family has its own listeners, so that no IPv4 peer ever shows as ::ffff:…
        socket.set_only_v6(true)?;
    }
    if transport != Transport::Udp && addr.port() != 0 {
        // Connections of an earlier run that linger in TIME_WAIT shall not keep us from the port.
        socket.set_reuse_address(true)?;
    }
    if share {
        socket.set_reuse_port(true)?;
    }
    if transport == Transport::Udp {
        // The system may grant less; a smaller buffer loses more in bursts, and nothing else.
        let _ = socket.set_recv_buffer_size(SOCKET_BUFFER);
        let _ = socket.set_send_buffer_size(SOCKET_BUFFER);
    }
    socket.bind(&addr.into())?;
    Ok(socket)
}

fn listen(socket: Socket) -> io::Result<TcpListener> {
    socket.listen(BACKLOG)?;
    Ok(socket.into())
}

/// The local address of a datagram that came to `listener` and was sent to `destination`.
pub(super) fn local_of(listener: SocketAddr, destination: Option<IpAddr>) -> SocketAddr {
    match destination {
        Some(ip) if listener.ip().is_unspecified() => SocketAddr::new(ip, listener.port()),
        _ => listener,
    }
}

/// Bytes; about 3,000 datagrams of ordinary size.
const SOCKET_BUFFER: usize = 4 << 20;
/// Connections that wait to be accepted.
const BACKLOG: i32 = 1024;

#[cfg(test)]
mod tests {
    use std::net::{Ipv4Addr, Ipv6Addr};

    use super::*;

    #[test]
    fn all_workers_share_the_port_that_the_system_gave() {
        let any = SocketAddr::from((Ipv6Addr::LOCALHOST, 0));
        let (bound, sockets) = bind(&[Listener::udp(any), Listener::tcp(any)], 3).unwrap();
        assert_eq!(sockets.len(), 3);
        assert_ne!(bound[0].addr.port(), 0);
        for worker in &sockets {
            assert_eq!(worker.udp[0].local_addr().unwrap(), bound[0].addr);
            assert_eq!(worker.streams[0].1.local_addr().unwrap(), bound[1].addr);
        }
        // Not promised, because the port may be taken over TCP, but nobody does that to us within the same microsecond.
        assert_eq!(bound[0].addr, bound[1].addr);
    }

    #[test]
    fn a_port_of_ours_is_not_shared_with_a_second_instance() {
        for any in [SocketAddr::from((Ipv4Addr::LOCALHOST, 0)), SocketAddr::from((Ipv6Addr::LOCALHOST, 0))] {
            for listener in [Listener::udp(any), Listener::tcp(any)] {
                let (bound, _sockets) = bind(&[listener], 2).unwrap();
                let error = bind(&bound, 2).unwrap_err();
                assert!(
                    error.to_string().starts_with(&format!("cannot listen on {}: ", bound[0])),
                    "{error}"
                );
            }
        }
    }

    #[test]
    fn the_destination_fills_a_wildcard_only() {
        let ip = IpAddr::from([192, 0, 2, 7]);
        let wildcard = SocketAddr::from(([0, 0, 0, 0], 5060));
        let exact = SocketAddr::from(([192, 0, 2, 1], 5060));
        assert_eq!(local_of(wildcard, Some(ip)), SocketAddr::new(ip, 5060));
        assert_eq!(local_of(wildcard, None), wildcard);
        assert_eq!(local_of(exact, Some(ip)), exact);
    }
}
