//! One connection as a stream of bytes (TCP, TLS): bytes to messages, messages to bytes, keep-alives.

use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::task::ready;

use sip_core::flow::Flow;
use sip_core::transaction::unframed;
use sip_core::wire::frame::{Frame, Framer};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadBuf};
use tokio::time::Duration;

use super::Shared;
use super::queue::{Outgoing, Receiver};
use super::session::{Connection, End, State, deliver, farewell, note_end};

/// Reads and writes until the connection ends from either side; then tells everybody who may have known it.
pub(super) async fn serve(stream: impl AsyncRead + AsyncWrite + Unpin, connection: Connection) {
    let Connection { flow, id, shared, mut queue } = connection;
    let state = State::begin(&shared);
    let (mut reader, mut writer) = tokio::io::split(stream);
    let end = tokio::select! {
        end = read(&mut reader, flow, &shared, &state) => end,
        end = write(&mut writer, &mut queue, &shared, &state) => end,
        () = state.idle(shared.limits.idle) => Err(End::Idle),
    };
    let end = end.err().unwrap_or(End::Ours);
    note_end(&end, &flow, &shared);
    if matches!(end, End::Framing(_)) && state.under_way.get().is_none() {
        let parting = Box::pin(part(reader, writer, &mut queue, &state));
        let _ = tokio::time::timeout(PARTING, parting).await;
    }
    farewell(state, queue, id, &shared).await;
}

/// Answers what came before the message that could not be framed, then that one, and closes. What still comes is read and dropped,
/// since closing over it would take the answers back.
async fn part(
    reader: impl AsyncRead + Unpin,
    mut writer: impl AsyncWrite + Unpin,
    queue: &mut Receiver,
    state: &State,
) -> io::Result<()> {
    while let Ok(Some(Outgoing { origin, bytes })) = tokio::time::timeout(LINGER, queue.recv()).await {
        state.under_way.set(Some(origin));
        writer.write_all(&bytes).await?;
        state.under_way.set(None);
    }
    if let Some(word) = state.last_word.take() {
        writer.write_all(&word).await?;
    }
    writer.shutdown().await?;
    tokio::io::copy(&mut reader.take(MOST_LEFT), &mut tokio::io::sink()).await.map(drop)
}

async fn read(
    reader: &mut (impl AsyncRead + Unpin),
    flow: Flow,
    shared: &Shared,
    state: &State,
) -> Result<(), End> {
    let mut framer = Framer::new(&shared.framing);
    loop {
        if fill(reader, &mut framer, shared).await? == 0 {
            return Err(End::Peer);
        }
        loop {
            let frame = match framer.next_frame() {
                Ok(Some(frame)) => frame,
                Ok(None) => break,
                Err(error) => {
                    state.last_word.set(framer.unframed().and_then(unframed));
                    return Err(error.into());
                }
            };
            state.touch();
            match frame {
                Frame::Message(bytes) => deliver(flow, bytes, shared).await,
                Frame::Ping => {
                    shared.metrics.keep_alives.increment(1);
                    state.pong.notify_one();
                }
            }
        }
    }
}

/// Reads what is there into the framer, by way of a buffer that all connections of the worker share: most wait most of the time.
async fn fill(
    reader: &mut (impl AsyncRead + Unpin),
    framer: &mut Framer,
    shared: &Shared,
) -> io::Result<usize> {
    poll_fn(|context| {
        let mut memory = shared.read_buffer.borrow_mut();
        let mut buffer = ReadBuf::new(&mut memory);
        ready!(Pin::new(&mut *reader).poll_read(context, &mut buffer))?;
        framer.push(buffer.filled());
        Ok(buffer.filled().len()).into()
    })
    .await
}

async fn write(
    writer: &mut (impl AsyncWrite + Unpin),
    queue: &mut Receiver,
    shared: &Shared,
    state: &State,
) -> Result<(), End> {
    loop {
        tokio::select! {
            outgoing = queue.recv() => {
                let Some(Outgoing { origin, bytes }) = outgoing else {
                    writer.shutdown().await?;
                    return Ok(());
                };
                state.under_way.set(Some(origin));
                writer.write_all(&bytes).await?;
                writer.flush().await?;
                state.under_way.set(None);
                state.touch();
                shared.metrics.stream_messages_sent.increment(1);
            }
            // RFC 5626 §3.5.1: a double CRLF is answered by a single one. Several that wait are one sign of life.
            () = state.pong.notified() => {
                writer.write_all(b"\r\n").await?;
                writer.flush().await?;
            }
        }
    }
}

/// How long a peer may take to hear the last answers.
const PARTING: Duration = Duration::from_secs(2);
/// How long the workers may take to answer what came before.
const LINGER: Duration = Duration::from_millis(500);
/// How many bytes of a peer that does not stop sending are read meanwhile.
const MOST_LEFT: u64 = 256 * 1024;
