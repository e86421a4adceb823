//! A small name server for tests, on the loopback: it knows what it was told, and says of the rest that it is not there.

use std::net::{Ipv6Addr, SocketAddr, UdpSocket};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use hickory_resolver::proto::op::{Message, ResponseCode};
use hickory_resolver::proto::rr::rdata::{A, AAAA, NAPTR, SOA, SRV};
use hickory_resolver::proto::rr::{Name, RData, Record};

/// A server with its records. It ends when it is dropped.
pub struct Zone {
    /// Where it is asked, over UDP.
    pub addr: SocketAddr,
    ttl: u32,
    records: Arc<Mutex<Vec<Record>>>,
    asked: Arc<AtomicUsize>,
    /// Its end is what the thread waits for.
    running: Option<(Arc<()>, std::thread::JoinHandle<()>)>,
}

impl Zone {
    /// How long answers are good for where nothing else is said, in seconds.
    pub const TTL: u32 = 600;

    /// Serves records that are good for long.
    ///
    /// # Panics
    ///
    /// As [`serve_for`](Zone::serve_for).
    pub fn serve(records: &str) -> Zone {
        Zone::serve_for(Zone::TTL, records)
    }

    /// Serves records that are good for `ttl` seconds, one a line: `name A 192.0.2.1`, `name AAAA 2001:db8::1`, `name SRV priority weight port host`, `name NAPTR order preference
    /// flags service replacement`.
    ///
    /// # Panics
    ///
    /// When a line is none of these, or there is no socket.
    #[allow(clippy::expect_used)] // For tests.
    pub fn serve_for(ttl: u32, records: &str) -> Zone {
        let socket = UdpSocket::bind((Ipv6Addr::LOCALHOST, 0)).expect("a socket");
        socket.set_read_timeout(Some(Duration::from_millis(20))).expect("a time-out");
        let addr = socket.local_addr().expect("an address");
        let mut zone = Zone { addr, ttl, records: Arc::default(), asked: Arc::default(), running: None };
        zone.set(records);
        let (known, asked, alive) = (Arc::clone(&zone.records), Arc::clone(&zone.asked), Arc::new(()));
        let watch = Arc::downgrade(&alive);
        let thread = std::thread::spawn(move || {
            let mut buffer = [0; 1_500];
            while watch.strong_count() > 0 {
                let Ok((length, from)) = socket.recv_from(&mut buffer) else { continue };
                let Ok(query) = Message::from_vec(buffer.get(..length).unwrap_or_default()) else { continue };
                asked.fetch_add(1, Ordering::SeqCst);
                let known = known.lock().unwrap_or_else(PoisonError::into_inner);
                if let Some(answer) = answer(&query, &known, ttl) {
                    let _ = socket.send_to(&answer, from);
                }
            }
        });
        zone.running = Some((alive, thread));
        zone
    }

    /// Serves these records from now on.
    ///
    /// # Panics
    ///
    /// As [`serve_for`](Zone::serve_for).
    #[allow(clippy::expect_used)] // For tests.
    pub fn set(&self, records: &str) {
        let read = |line: &str| record(line, self.ttl).expect("a record");
        let records = records.lines().filter(|line| !line.trim().is_empty()).map(read).collect();
        *self.records.lock().unwrap_or_else(PoisonError::into_inner) = records;
    }

    /// How many questions came.
    pub fn asked(&self) -> usize {
        self.asked.load(Ordering::SeqCst)
    }
}

impl Drop for Zone {
    fn drop(&mut self) {
        if let Some((alive, thread)) = self.running.take() {
            drop(alive);
            let _ = thread.join();
        }
    }
}

fn answer(query: &Message, known: &[Record], ttl: u32) -> Option<Vec<u8>> {
    let question = query.queries.first()?.clone();
    let mut answer = Message::response(query.metadata.id, query.metadata.op_code);
    answer.metadata.recursion_available = true;
    answer.metadata.authoritative = true;
    let named = |record: &&Record| record.name == *question.name();
    let fits = |record: &&Record| record.record_type() == question.query_type();
    for record in known.iter().filter(named).filter(fits) {
        answer.add_answer(record.clone());
    }
    if !known.iter().any(|record| named(&record)) {
        answer.metadata.response_code = ResponseCode::NXDomain;
    }
    if answer.answers.is_empty() {
        // RFC 2308: how long the lack is good for.
        let root = Name::root();
        let soa = SOA::new(root.clone(), root.clone(), 1, 60, 60, 60, ttl);
        answer.add_authority(Record::from_rdata(root, ttl, RData::SOA(soa)));
    }
    answer.add_query(question);
    answer.to_vec().ok()
}

fn record(line: &str, ttl: u32) -> Option<Record> {
    let words: Vec<&str> = line.split_whitespace().collect();
    let data = match words.get(1..)? {
        ["A", ip] => RData::A(A(ip.parse().ok()?)),
        ["AAAA", ip] => RData::AAAA(AAAA(ip.parse().ok()?)),
        ["SRV", priority, weight, port, host] => RData::SRV(SRV::new(
            priority.parse().ok()?,
            weight.parse().ok()?,
            port.parse().ok()?,
            name(host)?,
        )),
        ["NAPTR", order, preference, flags, service, replacement] => RData::NAPTR(NAPTR::new(
            order.parse().ok()?,
            preference.parse().ok()?,
            flags.as_bytes().into(),
            service.as_bytes().into(),
            Box::default(),
            name(replacement)?,
        )),
        _ => return None,
    };
    Some(Record::from_rdata(name(words.first()?)?, ttl, data))
}

fn name(text: &str) -> Option<Name> {
    let mut name = Name::from_ascii(text).ok()?;
    name.set_fqdn(true);
    Some(name)
}
