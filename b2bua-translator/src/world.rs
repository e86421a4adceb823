//! Who answers the translator's questions: the relay of this worker, and the writer of the store.

use std::cell::RefCell;
use std::collections::HashMap;
use std::net::IpAddr;
use std::time::Duration;

use node::dns::Resolver;
use node::world::{Reply, World};
use schema::{CallRecord, Change, SaveError, Writer};
use sip_core::core::Token;
use tracing::{debug, warn};

use crate::hosts::USABLE;
use crate::question::{Answer, MediaId, PortPair, Question, Side, Sides, StreamPorts};
use crate::relay::{self, RelayError, RelayHandle, RelayWorker, SideUpdate, StreamSpec};

/// The world of one translator worker. It must live on the worker's own thread, within its runtime.
#[derive(Debug)]
pub struct TranslatorWorld {
    relay: RelayWorker,
    writer: Writer,
    resolver: Resolver,
    sessions: RefCell<HashMap<MediaId, Session>>,
}

#[derive(Debug)]
struct Session {
    handle: RelayHandle,
    spec: StreamSpec,
}

impl TranslatorWorld {
    /// A world without sessions.
    pub fn new(relay: RelayWorker, writer: Writer, resolver: Resolver) -> TranslatorWorld {
        TranslatorWorld { relay, writer, resolver, sessions: RefCell::default() }
    }

    fn open(&self, call: &str, streams: usize, caller: IpAddr, callee: IpAddr) -> Answer {
        let spec = StreamSpec { side_a_local: caller, side_b_local: callee };
        match self.relay.open(&vec![spec; streams]) {
            Ok(handle) => {
                let media = MediaId(handle.id().0);
                let streams = ports(&handle);
                debug!(call, session = media.0, streams = streams.len(), "media opened");
                self.sessions.borrow_mut().insert(media, Session { handle, spec });
                Answer::Opened { media, streams }
            }
            Err(error) => not_opened(&error),
        }
    }

    fn grow(&self, media: MediaId, streams: usize) -> Answer {
        let sessions = self.sessions.borrow();
        let Some(session) = sessions.get(&media) else { return not_opened(&RelayError::Closed) };
        let mut grown = Err(RelayError::Closed);
        for _ in 0..streams {
            match session.handle.add_stream(session.spec) {
                Ok(index) => grown = Ok(index),
                Err(error) if grown.is_ok() => {
                    warn!(session = media.0, %error, "not every further stream could be opened");
                    break;
                }
                Err(error) => {
                    grown = Err(error);
                    break;
                }
            }
        }
        match grown {
            Ok(_) => Answer::Opened { media, streams: ports(&session.handle) },
            Err(error) => not_opened(&error),
        }
    }

    fn update(&self, media: MediaId, side: Side, streams: Vec<SideUpdate>) {
        let sessions = self.sessions.borrow();
        let Some(session) = sessions.get(&media) else { return };
        for (index, update) in streams.into_iter().enumerate() {
            if let Err(error) = session.handle.update(index, relay_side(side), update) {
                warn!(session = media.0, stream = index, %error, "the relay did not take an update");
            }
        }
    }

    fn watch(&self, media: MediaId, reply: Reply<Answer>) {
        let Some(handle) = self.sessions.borrow().get(&media).map(|session| session.handle.clone()) else {
            return reply.send(Answer::WatchEnded);
        };
        // The task ends with the session at the latest.
        tokio::spawn(async move {
            reply.send(match handle.silent().await {
                Some(silence) => Answer::Silent(match silence.side {
                    relay::Side::A => Side::Caller,
                    relay::Side::B => Side::Callee,
                }),
                None => Answer::WatchEnded,
            });
        });
    }

    fn close(&self, media: MediaId) -> Answer {
        let session = self.sessions.borrow_mut().remove(&media);
        let statistics = session.and_then(|session| session.handle.close());
        Answer::Closed(serde_json::to_value(statistics).unwrap_or_default())
    }
}

impl World<Question, Answer> for TranslatorWorld {
    fn ask(&self, _token: Token, question: Question, reply: Reply<Answer>) {
        match question {
            Question::OpenMedia { call, streams, caller, callee } => {
                reply.send(self.open(&call, streams, caller, callee));
            }
            Question::GrowMedia { media, streams } => reply.send(self.grow(media, streams)),
            Question::UpdateMedia { media, side, streams } => {
                self.update(media, side, streams);
                reply.send(Answer::Updated);
            }
            Question::WatchMedia { media } => self.watch(media, reply),
            Question::CloseMedia { media } => reply.send(self.close(media)),
            Question::SaveRecord(record) => {
                tokio::spawn(save(self.writer.clone(), *record, reply));
            }
            Question::Locate(wanted) => {
                let resolver = self.resolver.clone();
                tokio::task::spawn_local(async move {
                    reply.send(Answer::Located(resolver.locate(wanted, &USABLE).await));
                });
            }
        }
    }
}

/// Writes a record. While the database is away the writer keeps records in its spool; when its queue is full we come
/// again, because a record has nobody who would ask for it a second time.
async fn save(writer: Writer, record: CallRecord, reply: Reply<Answer>) {
    let mut tries = 0;
    let saved = loop {
        match writer.save(vec![Change::AddCallRecord(record.clone())]).await {
            Err(SaveError::Busy) if tries < SAVE_TRIES => {
                tries += 1;
                tokio::time::sleep(SAVE_AGAIN).await;
            }
            saved => break saved,
        }
    };
    reply.send(Answer::Saved(saved.map_err(|error| error.to_string())));
}

fn not_opened(error: &RelayError) -> Answer {
    Answer::NotOpened { reason: error.to_string() }
}

fn ports(handle: &RelayHandle) -> Vec<StreamPorts> {
    let pair =
        |endpoint: relay::Endpoint| PortPair { rtp: endpoint.ports.rtp(), rtcp: endpoint.ports.rtcp() };
    handle.endpoints().iter().map(|ends| Sides { caller: pair(ends.a), callee: pair(ends.b) }).collect()
}

/// The caller's leg is the relay's leg A.
fn relay_side(side: Side) -> relay::Side {
    match side {
        Side::Caller => relay::Side::A,
        Side::Callee => relay::Side::B,
    }
}

/// How often a record is offered to a full queue.
const SAVE_TRIES: u32 = 100;
const SAVE_AGAIN: Duration = Duration::from_millis(250);

#[cfg(test)]
mod tests {
    use std::net::UdpSocket;
    use std::sync::Arc;

    use node::config::Dns;
    use schema::{CallQuery, Contents, Directory, Mirror, WriterSettings};

    use super::*;
    use crate::relay::{PortRange, RelaySettings};

    /// Four pairs near a port that the system hands out.
    fn free_range(address: IpAddr) -> PortRange {
        let bind = |port: u16| UdpSocket::bind((address, port));
        loop {
            let first = bind(0).and_then(|socket| socket.local_addr()).unwrap().port() & !7;
            if (first..first + 8).all(|port| bind(port).is_ok()) {
                return PortRange::new(first, first + 7).unwrap();
            }
        }
    }

    async fn ask(world: &TranslatorWorld, question: Question) -> Answer {
        let (reply, mut answers) = Reply::detached(Token(1));
        world.ask(Token(1), question, reply);
        answers.recv().await.expect("an answer").1
    }

    #[tokio::test]
    async fn media_opens_grows_and_closes_and_records_are_written() {
        let folder = tempfile::tempdir().unwrap();
        let store = schema::open(&format!("sqlite:{}", folder.path().join("c6.db").display())).await.unwrap();
        let mirror = Mirror::new(Arc::new(Directory::from(&Contents::default())));
        let writer = Writer::spawn(Arc::clone(&store), mirror, "node1", WriterSettings::default());
        let loopback = IpAddr::from([127, 0, 0, 1]);
        let relay = RelayWorker::new(RelaySettings::new(vec![loopback], free_range(loopback)));
        let world = TranslatorWorld::new(relay, writer, Resolver::new(Dns::default()));

        let open =
            |streams| Question::OpenMedia { call: "c".into(), streams, caller: loopback, callee: loopback };
        let Answer::Opened { media, streams } = ask(&world, open(1)).await else { panic!("not opened") };
        assert_eq!(streams.len(), 1);
        let Answer::Opened { streams, .. } = ask(&world, Question::GrowMedia { media, streams: 1 }).await
        else {
            panic!("not grown")
        };
        assert_eq!(streams.len(), 2);
        assert!(matches!(ask(&world, open(1)).await, Answer::NotOpened { .. }));
        let (reply, mut watched) = Reply::detached(Token(2));
        world.ask(Token(2), Question::WatchMedia { media }, reply);
        let Answer::Closed(statistics) = ask(&world, Question::CloseMedia { media }).await else { panic!() };
        assert_eq!(statistics["streams"].as_array().map(Vec::len), Some(2));
        assert!(matches!(watched.recv().await, Some((_, Answer::WatchEnded))));

        let record = CallRecord {
            id: "node1-1".into(),
            node: "node1".into(),
            started_at: 1,
            answered_at: None,
            ended_at: Some(2),
            caller: "a".into(),
            callee: "b".into(),
            direction: schema::Direction::Outbound,
            line: None,
            trunk: None,
            result: schema::CallResult::Failed,
            status: Some(503),
            reason: String::new(),
            ended_by: None,
            media: statistics,
            call_ids: vec!["a".into()],
            explanation: String::new(),
        };
        let saved = ask(&world, Question::SaveRecord(Box::new(record.clone()))).await;
        assert!(matches!(saved, Answer::Saved(Ok(()))), "{saved:?}");
        assert_eq!(store.call_records(&CallQuery::default()).await.unwrap(), [record]);
    }
}
