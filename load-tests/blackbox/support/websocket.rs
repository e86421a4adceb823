//! SIP by hand over WebSocket, as a page in a browser does it (RFC 7118).

use std::collections::VecDeque;
use std::io::{Error, Read, Write};
use std::net::{SocketAddr, TcpStream};

use rustls::{ClientConnection, StreamOwned};
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::http::HeaderValue;
use tokio_tungstenite::tungstenite::{self, Message, WebSocket};

use super::raw::Stream;
use super::{Certificates, Identity, Raw};

/// A WebSocket as a stream of bytes: what is written at once is one message, and what is read is one SIP message after the other.
struct Socket<S> {
    socket: WebSocket<S>,
    read: VecDeque<u8>,
}

impl Raw {
    /// A page in a browser: a WebSocket from this origin.
    pub(crate) fn browser(server: SocketAddr, origin: &'static str) -> Result<Raw, tungstenite::Error> {
        let stream = TcpStream::connect(server).unwrap();
        Ok(Raw::over(Box::new(open(stream, &format!("ws://{server}/"), origin)?), "WS"))
    }
}

impl Certificates {
    /// A page in a browser: a WebSocket under TLS.
    pub(crate) fn browser(&self, server: SocketAddr) -> Raw {
        let stream = self.stream(server, &Identity::Nobody).unwrap();
        let socket = open(stream, &format!("wss://{server}/"), "https://phone.example.net").unwrap();
        Raw::over(Box::new(socket), "WSS")
    }
}

fn open<S: Read + Write>(
    stream: S,
    url: &str,
    origin: &'static str,
) -> Result<Socket<S>, tungstenite::Error> {
    let mut request = url.into_client_request()?;
    request.headers_mut().insert("sec-websocket-protocol", HeaderValue::from_static("sip"));
    request.headers_mut().insert("origin", HeaderValue::from_static(origin));
    match tungstenite::client(request, stream) {
        Ok((socket, response)) => {
            assert_eq!(response.headers().get("sec-websocket-protocol").unwrap(), "sip");
            Ok(Socket { socket, read: VecDeque::new() })
        }
        Err(tungstenite::HandshakeError::Failure(error)) => Err(error),
        Err(tungstenite::HandshakeError::Interrupted(_)) => panic!("a blocking socket was interrupted"),
    }
}

impl<S: Read + Write> Read for Socket<S> {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        while self.read.is_empty() {
            match self.socket.read().map_err(io_error)? {
                Message::Text(text) => self.take(text.as_bytes()),
                Message::Binary(bytes) => self.take(&bytes),
                Message::Close(_) => return Ok(0),
                _ => {}
            }
        }
        self.read.read(buffer)
    }
}

impl<S> Socket<S> {
    fn take(&mut self, message: &[u8]) {
        // RFC 7118 §4.2: each holds one SIP message, whole.
        let parsed = user_agent::Message::parse(message).unwrap();
        assert_eq!(parsed.to_bytes().len(), message.len(), "{}", String::from_utf8_lossy(message));
        self.read.extend(message);
    }
}

impl<S: Read + Write> Write for Socket<S> {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        let message = match std::str::from_utf8(bytes) {
            Ok(text) => Message::text(text),
            Err(_) => Message::binary(bytes.to_vec()),
        };
        self.socket.send(message).map_err(io_error)?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        self.socket.flush().map_err(io_error)
    }
}

impl Stream for Socket<TcpStream> {
    fn tcp(&self) -> &TcpStream {
        self.socket.get_ref()
    }
}

impl Stream for Socket<StreamOwned<ClientConnection, TcpStream>> {
    fn tcp(&self) -> &TcpStream {
        &self.socket.get_ref().sock
    }
}

fn io_error(error: tungstenite::Error) -> Error {
    match error {
        tungstenite::Error::Io(error) => error,
        other => Error::other(other.to_string()),
    }
}
