//! A UDP relay that loses datagrams by a seed.

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use tokio::net::UdpSocket;
use tokio::task::JoinSet;

/// Stands before one address; each client gets a port of its own behind the relay. It ends when it is dropped.
pub(crate) struct LossyRelay {
    /// Where clients send to, in place of the server's address.
    pub(crate) front: SocketAddr,
    dropped: Arc<AtomicU64>,
    _task: JoinSet<()>,
}

/// How much is lost.
#[derive(Clone, Copy)]
struct Loss {
    percent: u64,
    seed: u64,
}

impl LossyRelay {
    /// Loses `percent` of the datagrams of each client in each direction; which ones is decided by `seed` and the
    /// datagram's number.
    pub(crate) async fn start(server: SocketAddr, percent: u64, seed: u64) -> LossyRelay {
        let front = Arc::new(UdpSocket::bind((server.ip(), 0)).await.unwrap());
        let address = front.local_addr().unwrap();
        let dropped = Arc::new(AtomicU64::new(0));
        let mut task = JoinSet::new();
        task.spawn(forward(front, server, Loss { percent, seed }, Arc::clone(&dropped)));
        LossyRelay { front: address, dropped, _task: task }
    }

    /// How many datagrams were lost so far.
    pub(crate) fn dropped(&self) -> u64 {
        self.dropped.load(Ordering::Relaxed)
    }
}

impl Loss {
    /// Whether the datagram of this number is lost: splitmix64.
    fn takes(self, number: u64) -> bool {
        let mut mixed = self.seed.wrapping_add(number.wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15));
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ (mixed >> 31)) % 100 < self.percent
    }

    /// Another sequence of the same rate.
    fn other(self, number: u64) -> Loss {
        Loss { seed: self.seed ^ number.wrapping_mul(0xd6e8_feb8_6659_fd93), ..self }
    }
}

async fn forward(front: Arc<UdpSocket>, server: SocketAddr, loss: Loss, dropped: Arc<AtomicU64>) {
    let mut clients: HashMap<SocketAddr, (Arc<UdpSocket>, u64, Loss)> = HashMap::new();
    let mut backward = JoinSet::new();
    let mut buffer = vec![0; 65_536];
    loop {
        // An error here is an ICMP message about an earlier datagram.
        let Ok((length, client)) = front.recv_from(&mut buffer).await else { continue };
        if !clients.contains_key(&client) {
            let number = clients.len() as u64 * 2;
            let any: IpAddr = server.ip();
            let back = Arc::new(UdpSocket::bind((any, 0)).await.unwrap());
            let (front, socket) = (Arc::clone(&front), Arc::clone(&back));
            backward.spawn(backwards(front, socket, client, loss.other(number + 1), Arc::clone(&dropped)));
            clients.insert(client, (back, 0, loss.other(number)));
        }
        let Some((back, sent, loss)) = clients.get_mut(&client) else { continue };
        *sent += 1;
        if loss.takes(*sent) {
            dropped.fetch_add(1, Ordering::Relaxed);
            continue;
        }
        let _ = back.send_to(&buffer[..length], server).await;
    }
}

async fn backwards(
    front: Arc<UdpSocket>,
    back: Arc<UdpSocket>,
    client: SocketAddr,
    loss: Loss,
    dropped: Arc<AtomicU64>,
) {
    let mut buffer = vec![0; 65_536];
    let mut sent = 0;
    loop {
        let Ok((length, _)) = back.recv_from(&mut buffer).await else { continue };
        sent += 1;
        if loss.takes(sent) {
            dropped.fetch_add(1, Ordering::Relaxed);
            continue;
        }
        let _ = front.send_to(&buffer[..length], client).await;
    }
}
