//! One connection as a WebSocket (RFC 7118): each of its messages is one SIP message.

use std::rc::Rc;

use bytes::Bytes;
use futures_util::stream::{SplitSink, SplitStream};
use futures_util::{SinkExt, StreamExt};
use sip_core::flow::Flow;
use sip_core::owner::{is_keep_alive, may_be_sip};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::{Duration, interval_at, timeout};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::handshake::server::{ErrorResponse, Request, Response};
use tokio_tungstenite::tungstenite::http::{HeaderMap, HeaderValue, StatusCode, header};
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;
use tokio_tungstenite::tungstenite::protocol::{CloseFrame, WebSocketConfig};
use tokio_tungstenite::tungstenite::{self, Message};

use super::Shared;
use super::queue::{Outgoing, Receiver};
use super::session::{Connection, End, State, deliver, farewell, note_end};

type Sink<S> = SplitSink<WebSocketStream<S>, Message>;

/// Answers the HTTP request that begins every WebSocket.
pub(super) async fn accept<S>(
    stream: S,
    shared: &Shared,
) -> Result<WebSocketStream<S>, Box<tungstenite::Error>>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let origins = Rc::new(shared.limits.origins.clone());
    // The error is the library's: a whole HTTP response.
    #[allow(clippy::result_large_err)]
    let check = move |request: &Request, mut response: Response| match admit(request.headers(), &origins) {
        Ok(()) => {
            response
                .headers_mut()
                .insert(header::SEC_WEBSOCKET_PROTOCOL, HeaderValue::from_static(SUBPROTOCOL));
            Ok(response)
        }
        Err(refusal) => Err(refused(refusal)),
    };
    let limit = shared.framing.max_bytes;
    let config = WebSocketConfig::default()
        .read_buffer_size(BUFFER)
        .write_buffer_size(0)
        .max_write_buffer_size(limit.saturating_mul(2))
        .max_message_size(Some(limit))
        .max_frame_size(Some(limit));
    tokio_tungstenite::accept_hdr_async_with_config(stream, check, Some(config)).await.map_err(Box::new)
}

/// Reads and writes until the connection ends from either side; then tells everybody who may have known it.
pub(super) async fn serve<S>(stream: WebSocketStream<S>, connection: Connection)
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let Connection { flow, id, shared, mut queue } = connection;
    let state = State::begin(&shared);
    let (mut sink, mut stream) = stream.split();
    let end = tokio::select! {
        end = read(&mut stream, flow, &shared, &state) => end,
        end = write(&mut sink, &mut queue, &shared, &state) => end,
        () = state.idle(shared.limits.idle) => Err(End::Idle),
    };
    let end = end.err().unwrap_or(End::Ours);
    note_end(&end, &flow, &shared);
    if let Some(code) = close_code(&end) {
        let close = Message::Close(Some(CloseFrame { code, reason: "".into() }));
        let _ = timeout(PARTING, sink.send(close)).await;
    }
    farewell(state, queue, id, &shared).await;
}

async fn read<S>(
    stream: &mut SplitStream<WebSocketStream<S>>,
    flow: Flow,
    shared: &Shared,
    state: &State,
) -> Result<(), End>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    loop {
        let message = stream.next().await.ok_or(End::Peer)?.map_err(Box::new)?;
        state.touch();
        let bytes = match message {
            Message::Text(text) => Bytes::from(text),
            Message::Binary(bytes) => bytes,
            // The library answers a ping and a close by itself.
            Message::Ping(_) | Message::Pong(_) => {
                shared.metrics.keep_alives.increment(1);
                continue;
            }
            Message::Close(_) | Message::Frame(_) => continue,
        };
        if is_keep_alive(&bytes) {
            shared.metrics.keep_alives.increment(1);
            if &bytes[..] == PING {
                state.pong.notify_one();
            }
        } else if may_be_sip(&bytes) {
            deliver(flow, bytes, shared).await;
        } else {
            shared.metrics.dropped_garbage.increment(1);
        }
    }
}

async fn write<S>(sink: &mut Sink<S>, queue: &mut Receiver, shared: &Shared, state: &State) -> Result<(), End>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    // A page cannot ping (RFC 7118 §6), and a browser that is gone says nothing.
    let every = shared.limits.ping;
    let mut ping = interval_at(tokio::time::Instant::now() + every, every);
    loop {
        tokio::select! {
            outgoing = queue.recv() => {
                let Some(Outgoing { origin, bytes }) = outgoing else { return Ok(()) };
                state.under_way.set(Some(origin));
                sink.send(message(bytes)).await.map_err(Box::new)?;
                state.under_way.set(None);
                state.touch();
                shared.metrics.stream_messages_sent.increment(1);
            }
            // RFC 5626 §3.5.1, which RFC 7118 §6 leaves to clients that can.
            () = state.pong.notified() => sink.send(Message::text("\r\n")).await.map_err(Box::new)?,
            _ = ping.tick() => sink.send(Message::Ping(Bytes::new())).await.map_err(Box::new)?,
        }
    }
}

/// RFC 7118 §4.2: text where it is UTF-8, which is what browsers expect.
fn message(bytes: Bytes) -> Message {
    match tungstenite::Utf8Bytes::try_from(bytes.clone()) {
        Ok(text) => Message::Text(text),
        Err(_) => Message::Binary(bytes),
    }
}

/// RFC 6455 §7.4.1; none where nobody would hear it.
fn close_code(end: &End) -> Option<CloseCode> {
    match end {
        End::Ours => Some(CloseCode::Away),
        End::Idle => Some(CloseCode::Normal),
        End::WebSocket(error) => match **error {
            tungstenite::Error::Capacity(_) => Some(CloseCode::Size),
            tungstenite::Error::Utf8(_) => Some(CloseCode::Invalid),
            tungstenite::Error::Protocol(_) => Some(CloseCode::Protocol),
            _ => None,
        },
        End::Peer | End::Framing(_) | End::Io(_) => None,
    }
}

/// Why a WebSocket is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Refusal {
    /// RFC 7118 §4.1: it must be for SIP.
    Subprotocol,
    /// RFC 6455 §10.2: a page from elsewhere.
    Origin,
}

fn admit(headers: &HeaderMap, origins: &[String]) -> Result<(), Refusal> {
    let offered =
        headers.get_all(header::SEC_WEBSOCKET_PROTOCOL).iter().filter_map(|value| value.to_str().ok());
    if !offered.flat_map(|value| value.split(',')).any(|word| word.trim() == SUBPROTOCOL) {
        return Err(Refusal::Subprotocol);
    }
    // Only browsers name an origin, and they cannot be made to name a false one.
    match headers.get(header::ORIGIN) {
        Some(origin) if !origins.is_empty() => {
            let is_known =
                |known: &String| origin.to_str().is_ok_and(|origin| origin.eq_ignore_ascii_case(known));
            if origins.iter().any(is_known) { Ok(()) } else { Err(Refusal::Origin) }
        }
        _ => Ok(()),
    }
}

fn refused(refusal: Refusal) -> ErrorResponse {
    let (status, words) = match refusal {
        Refusal::Subprotocol => (StatusCode::BAD_REQUEST, "the subprotocol sip is needed\n"),
        Refusal::Origin => (StatusCode::FORBIDDEN, "pages from this origin are not served\n"),
    };
    let mut response = ErrorResponse::new(Some(words.to_owned()));
    *response.status_mut() = status;
    response
}

/// RFC 7118 §4.1.
const SUBPROTOCOL: &str = "sip";
const PING: &[u8] = b"\r\n\r\n";
/// Bytes; each connection has one for ever, and no SIP message is much longer.
const BUFFER: usize = 4 * 1024;
/// How long a peer may take to hear that we close.
const PARTING: Duration = Duration::from_secs(1);

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(pairs: &[(&'static str, &'static str)]) -> HeaderMap {
        pairs.iter().map(|(name, value)| (name.parse().unwrap(), HeaderValue::from_static(value))).collect()
    }

    /// RFC 7118 §4.1: a client that does not offer the subprotocol `sip` is refused.
    #[test]
    fn the_subprotocol_is_sip() {
        let protocol = "sec-websocket-protocol";
        assert_eq!(admit(&headers(&[(protocol, "sip")]), &[]), Ok(()));
        assert_eq!(admit(&headers(&[(protocol, "xmpp, sip")]), &[]), Ok(()));
        for other in [headers(&[]), headers(&[(protocol, "xmpp")]), headers(&[(protocol, "sips")])] {
            assert_eq!(admit(&other, &[]), Err(Refusal::Subprotocol));
        }
    }

    /// RFC 6455 §10.2: pages of other origins are refused; who names none is no page.
    #[test]
    fn pages_come_from_where_they_may() {
        let origins = ["https://phone.example.net".to_owned()];
        let from = |origin| headers(&[("sec-websocket-protocol", "sip"), ("origin", origin)]);
        assert_eq!(admit(&from("https://PHONE.example.net"), &origins), Ok(()));
        for other in ["https://evil.example", "http://phone.example.net", "null"] {
            assert_eq!(admit(&from(other), &origins), Err(Refusal::Origin), "{other}");
            assert_eq!(admit(&from(other), &[]), Ok(()));
        }
        assert_eq!(admit(&headers(&[("sec-websocket-protocol", "sip")]), &origins), Ok(()));
    }

    #[test]
    fn messages_are_text_where_they_can_be() {
        assert!(message(Bytes::from_static("sip: ü".as_bytes())).is_text());
        assert!(message(Bytes::from_static(b"sip: \xff")).is_binary());
    }
}
