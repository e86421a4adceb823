//! One client's connection: bytes to the broker, bytes from the broker, and its end.

use std::time::Duration;

use bytes::Bytes;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::sync::mpsc;
use tokio::time::timeout;

use super::driver::Message;
use crate::broker::ConnectionId;

/// Carries bytes until the broker closes the connection or the client does, and everything that was to be sent is sent.
pub(super) async fn serve<S: AsyncRead + AsyncWrite + Unpin>(
    mut stream: S,
    connection: ConnectionId,
    inbox: mpsc::Sender<Message>,
    mut queue: mpsc::Receiver<Bytes>,
) {
    let mut buffer = [0; READ_BYTES];
    let mut client_reads_on = true;
    loop {
        tokio::select! {
            // Replies first: a client that has much to say hears the answers in between.
            biased;
            bytes = queue.recv() => match bytes {
                Some(bytes) => {
                    if !write(&mut stream, &bytes).await {
                        break;
                    }
                }
                None => {
                    farewell(stream, client_reads_on).await;
                    return;
                }
            },
            read = stream.read(&mut buffer), if client_reads_on => {
                let message = match read.ok().and_then(|count| buffer.get(..count)) {
                    Some(bytes) if !bytes.is_empty() => {
                        Message::Received { connection, bytes: Bytes::copy_from_slice(bytes) }
                    }
                    // The replies to what it said before are still sent.
                    _ => {
                        client_reads_on = false;
                        Message::Closed(connection)
                    }
                };
                if inbox.send(message).await.is_err() {
                    return;
                }
            }
        }
    }
    if client_reads_on {
        // A broker that has ended needs no word.
        let _ = inbox.send(Message::Closed(connection)).await;
    }
}

async fn write<S: AsyncWrite + Unpin>(stream: &mut S, bytes: &[u8]) -> bool {
    let written = timeout(WRITE, async {
        stream.write_all(bytes).await?;
        stream.flush().await
    });
    matches!(written.await, Ok(Ok(())))
}

/// Closes our side and waits a moment for the client's: closing with bytes of the client unread would reset the connection, and
/// the reset can overtake the last line that tells the client why.
async fn farewell<S: AsyncRead + AsyncWrite + Unpin>(mut stream: S, client_may_send: bool) {
    let closing = async {
        stream.shutdown().await?;
        let mut buffer = [0; READ_BYTES];
        let mut left = LAST_BYTES;
        while client_may_send && left > 0 {
            match stream.read(&mut buffer).await? {
                0 => break,
                count => left = left.saturating_sub(count),
            }
        }
        std::io::Result::Ok(())
    };
    // The connection is gone in any case.
    let _ = timeout(FAREWELL, closing).await;
}

/// Bytes that are read at a time: the longest line of the protocol has about 120.
const READ_BYTES: usize = 512;
/// How long a client may take to make room for one piece.
const WRITE: Duration = Duration::from_secs(10);
/// How long, and for how many bytes, the client's end is waited for.
const FAREWELL: Duration = Duration::from_secs(1);
const LAST_BYTES: usize = 16 * 1024;
