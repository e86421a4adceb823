//! The link to a tunnel server on another machine.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep_until, timeout};

use super::frame::{ControlKey, Direction, FrameError, FrameReader};
use super::hello::{HelloError, Seals, hello};
use super::link::{LinkEvent, LinkSettings, Orders, refuse_until};
use super::message::{FromBroker, FromServer};
use crate::broker::{HeldTunnel, ServerId, ServerInfo, Token, TunnelFailure};

pub(super) async fn run<E: From<LinkEvent>>(
    server: ServerId,
    address: SocketAddr,
    key: ControlKey,
    mut orders: Orders,
    events: mpsc::Sender<E>,
    settings: LinkSettings,
) {
    let (first, most) = settings.retry;
    let mut delay = first;
    let mut last_reason = String::new();
    loop {
        let mut link =
            Session { server, events: &events, settings: &settings, pending: VecDeque::new(), was_up: false };
        let end = async {
            let stream =
                timeout(settings.timeout, TcpStream::connect(address)).await.map_err(|_| End::TimedOut)?;
            let stream = stream.map_err(FrameError::from)?;
            stream.set_nodelay(true).map_err(FrameError::from)?;
            let (reader, writer) = stream.into_split();
            link.serve(reader, writer, &key, &mut orders).await
        };
        let Err(end) = end.await;
        if matches!(end, End::BrokerGone) || link.fail_all().await.is_err() {
            return;
        }
        if link.was_up {
            tracing::warn!(%address, reason = %end, "the tunnel server is away");
            delay = first;
            last_reason.clear();
            if events.send(LinkEvent::Down(server).into()).await.is_err() {
                return;
            }
        } else if last_reason != end.to_string() {
            // Once a reason: it is tried again and again.
            tracing::warn!(%address, reason = %end, "the tunnel server cannot be reached");
            last_reason = end.to_string();
        }
        if matches!(end, End::Ousted) {
            // Two brokers shall not fight over a server at full speed.
            delay = most;
        }
        let next_try = Instant::now() + jittered(delay);
        delay = (delay * 2).min(most);
        if refuse_until(next_try, &mut orders, &events).await.is_err() {
            return;
        }
    }
}

/// Between three quarters and five quarters, so that many links do not try in step.
fn jittered(delay: Duration) -> Duration {
    let mut random = [0x80];
    // Without random bytes the delay is as good, only in step.
    let _ = getrandom::fill(&mut random);
    delay * 3 / 4 + delay * u32::from(random[0]) / 512
}

/// Why a session ended.
#[derive(Debug, thiserror::Error)]
pub(super) enum End {
    #[error("the broker has stopped")]
    BrokerGone,
    #[error(transparent)]
    Hello(#[from] HelloError),
    #[error(transparent)]
    Frame(#[from] FrameError),
    #[error("it did not answer in time")]
    TimedOut,
    #[error("another broker gives it orders now: a platform has one broker at a time")]
    Ousted,
    #[error("it said what does not belong here")]
    Confused,
    #[error("its data plane does not do as it is told")]
    PlaneFailed,
}

/// One connection to the server.
pub(super) struct Session<'s, E> {
    pub(super) server: ServerId,
    pub(super) events: &'s mpsc::Sender<E>,
    pub(super) settings: &'s LinkSettings,
    /// Orders that were sent, with when they must have been answered.
    pub(super) pending: VecDeque<(u64, Token, Instant)>,
    pub(super) was_up: bool,
}

impl<E: From<LinkEvent>> Session<'_, E> {
    /// Takes the server's seat and gives orders until something goes wrong.
    pub(super) async fn serve<R, W>(
        &mut self,
        reader: R,
        mut writer: W,
        key: &ControlKey,
        orders: &mut Orders,
    ) -> Result<std::convert::Infallible, End>
    where
        R: AsyncRead + Unpin,
        W: AsyncWrite + Unpin,
    {
        let mut reader = FrameReader::new(reader);
        let (seals, server, held) =
            timeout(HELLO, self.take(&mut reader, &mut writer, key)).await.map_err(|_| End::TimedOut)??;
        self.was_up = true;
        tracing::info!(region = %server.region, address = %server.address, tunnels = held.len(), "the tunnel server is there");
        self.tell(LinkEvent::Up { server, held }).await?;
        self.give_orders(reader, writer, seals, orders).await
    }

    /// Becomes the one who gives orders, and hears what there is.
    async fn take<R, W>(
        &self,
        reader: &mut FrameReader<R>,
        writer: &mut W,
        key: &ControlKey,
    ) -> Result<(Seals, ServerInfo, Vec<HeldTunnel>), End>
    where
        R: AsyncRead + Unpin,
        W: AsyncWrite + Unpin,
    {
        let mut seals = hello(reader, writer, key, Direction::FromBroker).await?;
        let mut bytes = Vec::new();
        seals.outgoing.write(&FromBroker::Take, &mut bytes)?;
        writer.write_all(&bytes).await.map_err(FrameError::from)?;
        writer.flush().await.map_err(FrameError::from)?;
        let FromServer::Welcome { region, address, capacity } = reader.read(&mut seals.incoming).await?
        else {
            return Err(End::Confused);
        };
        let mut held = Vec::new();
        loop {
            match reader.read(&mut seals.incoming).await? {
                FromServer::Held { tunnels, last } => {
                    held.extend(tunnels);
                    if last {
                        break;
                    }
                }
                FromServer::Ousted => return Err(End::Ousted),
                _ => return Err(End::Confused),
            }
        }
        Ok((seals, ServerInfo { id: self.server, region, address, capacity }, held))
    }

    async fn give_orders<R, W>(
        &mut self,
        mut reader: FrameReader<R>,
        mut writer: W,
        Seals { mut outgoing, mut incoming }: Seals,
        orders: &mut Orders,
    ) -> Result<std::convert::Infallible, End>
    where
        R: AsyncRead + Unpin,
        W: AsyncWrite + Unpin,
    {
        let mut last_number = 0u64;
        let mut heard_at = Instant::now();
        let mut ping = tokio::time::interval(self.settings.timeout / PINGS);
        let mut bytes = Vec::new();
        loop {
            let silent_at = heard_at + self.settings.timeout;
            let overdue_at = self.pending.front().map_or(silent_at, |&(_, _, at)| at.min(silent_at));
            tokio::select! {
                message = reader.read(&mut incoming) => {
                    heard_at = Instant::now();
                    self.heard(message?).await?;
                }
                order = orders.recv(), if self.pending.len() < WINDOW => {
                    let mut next = Some(order.ok_or(End::BrokerGone)?);
                    while let Some((token, order)) = next {
                        last_number += 1;
                        self.pending.push_back((last_number, token, Instant::now() + self.settings.timeout));
                        outgoing.write(&FromBroker::Order { number: last_number, order }, &mut bytes)?;
                        next = if self.pending.len() < WINDOW { orders.try_recv().ok() } else { None };
                    }
                }
                _ = ping.tick() => outgoing.write(&FromBroker::Ping, &mut bytes)?,
                () = sleep_until(overdue_at) => return Err(End::TimedOut),
            }
            if !bytes.is_empty() {
                let sent = timeout(self.settings.timeout, async {
                    writer.write_all(&bytes).await?;
                    writer.flush().await
                });
                sent.await.map_err(|_| End::TimedOut)?.map_err(FrameError::from)?;
                bytes.clear();
            }
        }
    }

    async fn heard(&mut self, message: FromServer) -> Result<(), End> {
        match message {
            FromServer::Done { number, result } => {
                // Orders are carried out one after the other, so answers come in the same order.
                let (_, token, _) =
                    self.pending.pop_front_if(|(due, _, _)| *due == number).ok_or(End::Confused)?;
                self.tell(LinkEvent::Answer(token, result)).await?;
                if result == Err(TunnelFailure::Unreachable) { Err(End::PlaneFailed) } else { Ok(()) }
            }
            FromServer::Pong => Ok(()),
            FromServer::Ousted => Err(End::Ousted),
            FromServer::Welcome { .. } | FromServer::Held { .. } => Err(End::Confused),
        }
    }

    /// Answers what was sent and will not be answered.
    async fn fail_all(&mut self) -> Result<(), End> {
        while let Some((_, token, _)) = self.pending.pop_front() {
            self.tell(LinkEvent::Answer(token, Err(TunnelFailure::Unreachable))).await?;
        }
        Ok(())
    }

    async fn tell(&self, event: LinkEvent) -> Result<(), End> {
        self.events.send(event.into()).await.map_err(|_| End::BrokerGone)
    }
}

/// Orders under way at a time: a mass login after a power cut goes in a few round trips.
const WINDOW: usize = 256;
/// Pings in the time after which a silent server counts as away.
const PINGS: u32 = 3;
/// How long a server may take to say what it holds.
const HELLO: Duration = Duration::from_secs(10);
