//! A UDP relay that loses datagrams, and always the same ones.

use std::collections::{HashMap, HashSet};
use std::net::SocketAddr;
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

/// What is lost, of each client and in each direction.
#[derive(Clone, Copy)]
pub(crate) enum Loss {
    /// So many of a hundred; which ones is decided by the seed and the datagram's number.
    Percent { percent: u64, seed: u64 },
    /// Every datagram when it comes for the first time; a retransmission passes.
    FirstCopy,
}

impl LossyRelay {
    /// Stands before `server`.
    pub(crate) async fn start(server: SocketAddr, loss: Loss) -> LossyRelay {
        let front = Arc::new(UdpSocket::bind((server.ip(), 0)).await.unwrap());
        let address = front.local_addr().unwrap();
        let dropped = Arc::new(AtomicU64::new(0));
        let mut task = JoinSet::new();
        task.spawn(forth(front, server, loss, Arc::clone(&dropped)));
        LossyRelay { front: address, dropped, _task: task }
    }

    /// How many datagrams were lost so far.
    pub(crate) fn dropped(&self) -> u64 {
        self.dropped.load(Ordering::Relaxed)
    }
}

/// One direction of one client.
struct Direction {
    loss: Loss,
    seen: HashSet<Vec<u8>>,
    count: u64,
    dropped: Arc<AtomicU64>,
}

impl Direction {
    fn new(loss: Loss, number: u64, dropped: &Arc<AtomicU64>) -> Direction {
        let loss = match loss {
            Loss::Percent { percent, seed } => Loss::Percent { percent, seed: mix(seed ^ mix(number)) },
            Loss::FirstCopy => loss,
        };
        Direction { loss, seen: HashSet::new(), count: 0, dropped: Arc::clone(dropped) }
    }

    fn passes(&mut self, datagram: &[u8]) -> bool {
        self.count += 1;
        let lost = match self.loss {
            Loss::Percent { percent, seed } => mix(seed.wrapping_add(self.count)) % 100 < percent,
            Loss::FirstCopy => self.seen.insert(datagram.to_vec()),
        };
        self.dropped.fetch_add(u64::from(lost), Ordering::Relaxed);
        !lost
    }
}

async fn forth(front: Arc<UdpSocket>, server: SocketAddr, loss: Loss, dropped: Arc<AtomicU64>) {
    let mut clients: HashMap<SocketAddr, (Arc<UdpSocket>, Direction)> = HashMap::new();
    let mut tasks = JoinSet::new();
    let mut buffer = vec![0; 65_536];
    loop {
        // An error here is an ICMP message about an earlier datagram.
        let Ok((length, client)) = front.recv_from(&mut buffer).await else { continue };
        if !clients.contains_key(&client) {
            let number = clients.len() as u64 * 2;
            let behind = Arc::new(UdpSocket::bind((server.ip(), 0)).await.unwrap());
            let direction = Direction::new(loss, number + 1, &dropped);
            tasks.spawn(back(Arc::clone(&front), Arc::clone(&behind), client, direction));
            clients.insert(client, (behind, Direction::new(loss, number, &dropped)));
        }
        let Some((behind, direction)) = clients.get_mut(&client) else { continue };
        if direction.passes(&buffer[..length]) {
            let _ = behind.send_to(&buffer[..length], server).await;
        }
    }
}

async fn back(front: Arc<UdpSocket>, behind: Arc<UdpSocket>, client: SocketAddr, mut direction: Direction) {
    let mut buffer = vec![0; 65_536];
    loop {
        let Ok((length, _)) = behind.recv_from(&mut buffer).await else { continue };
        if direction.passes(&buffer[..length]) {
            let _ = front.send_to(&buffer[..length], client).await;
        }
    }
}

/// splitmix64.
fn mix(number: u64) -> u64 {
    let mut mixed = number.wrapping_add(0x9e37_79b9_7f4a_7c15);
    mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ (mixed >> 31)
}
