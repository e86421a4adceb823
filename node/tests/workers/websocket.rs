//! WebSocket (RFC 7118): one SIP message in each of its messages.

use std::net::SocketAddr;
use std::time::Duration;

use futures_util::{SinkExt, StreamExt};
use node::listener::Listener;
use sip_core::flow::Transport;
use tokio::net::TcpStream;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::http::HeaderValue;
use tokio_tungstenite::tungstenite::{Error, Message};
use tokio_tungstenite::{WebSocketStream, client_async};

use crate::toy::{Platform, answer, message};

fn platform(role: &str, change: impl FnOnce(&mut node::worker::WorkersConfig)) -> (Platform, SocketAddr) {
    let platform = Platform::start_with(role, 2, |config| {
        config.listen.push(Listener { transport: Transport::Ws, addr: "[::1]:0".parse().unwrap() });
        change(config);
    });
    let addr = platform.workers.local().last().unwrap().addr;
    (platform, addr)
}

async fn open(
    server: SocketAddr,
    protocol: Option<&'static str>,
    origin: Option<&'static str>,
) -> Result<WebSocketStream<TcpStream>, Error> {
    let mut request = format!("ws://{server}/").into_client_request()?;
    for (name, value) in [("sec-websocket-protocol", protocol), ("origin", origin)] {
        if let Some(value) = value {
            request.headers_mut().insert(name, HeaderValue::from_static(value));
        }
    }
    let stream = TcpStream::connect(server).await.unwrap();
    let (socket, response) = client_async(request, stream).await?;
    assert_eq!(response.headers().get("sec-websocket-protocol").unwrap(), "sip");
    Ok(socket)
}

fn text(command: &str, body: &str) -> Message {
    Message::text(String::from_utf8(message(command, "call", body)).unwrap())
}

/// The body of the next SIP message, `None` at the end.
async fn receive(socket: &mut WebSocketStream<TcpStream>) -> Option<String> {
    loop {
        match socket.next().await?.ok()? {
            Message::Text(text) => return Some(text.split_once("\r\n\r\n").unwrap().1.to_owned()),
            Message::Binary(bytes) => return Some(format!("binary {}", bytes.len())),
            Message::Close(_) => return None,
            _ => {}
        }
    }
}

/// RFC 7118 §4.2: text or binary, each message of the WebSocket is one SIP message.
#[tokio::test]
async fn each_message_is_one() {
    let (platform, server) = platform("ws", |config| config.workers = 1);
    let mut phone = open(server, Some("sip"), None).await.unwrap();
    phone.send(text("BLOB x", "hello")).await.unwrap();
    assert_eq!(receive(&mut phone).await.unwrap(), answer("hello"));
    phone.send(Message::binary(message("BLOB x", "call", "bytes"))).await.unwrap();
    assert_eq!(receive(&mut phone).await.unwrap(), answer("bytes"));
    // What is no SIP is dropped; a double CRLF is answered as over TCP; and a ping as WebSocket wants it.
    phone.send(Message::binary(vec![0, 1, 2])).await.unwrap();
    phone.send(Message::text("\r\n\r\n")).await.unwrap();
    assert_eq!(phone.next().await.unwrap().unwrap(), Message::text("\r\n"));
    phone.send(Message::Ping("x".into())).await.unwrap();
    assert_eq!(phone.next().await.unwrap().unwrap(), Message::Pong("x".into()));
    phone.send(text("BLOB x", "still here")).await.unwrap();
    assert_eq!(receive(&mut phone).await.unwrap(), answer("still here"));
    phone.close(None).await.unwrap();
    while let Some(Ok(_)) = phone.next().await {}
    platform.stop().await;
}

#[tokio::test]
async fn the_subprotocol_and_the_origin_are_looked_at() {
    let (platform, server) =
        platform("ws-refused", |config| config.stream.origins = vec!["https://phone.example.net".into()]);
    for (protocol, origin, status) in
        [(None, None, 400), (Some("xmpp"), None, 400), (Some("sip"), Some("https://evil.example"), 403)]
    {
        match open(server, protocol, origin).await {
            Err(Error::Http(response)) => assert_eq!(response.status(), status),
            other => panic!("{other:?}"),
        }
    }
    assert!(open(server, Some("sip"), Some("https://phone.example.net")).await.is_ok());
    assert!(open(server, Some("sip"), None).await.is_ok());
    platform.stop().await;
}

#[tokio::test]
async fn messages_over_the_limit_end_the_connection() {
    let (platform, server) = platform("ws-limit", |config| config.max_message_bytes = 2_000);
    let mut phone = open(server, Some("sip"), None).await.unwrap();
    phone.send(text("BLOB x", &"x".repeat(3_000))).await.unwrap();
    assert_eq!(receive(&mut phone).await, None);
    // In pieces, each within the limit.
    let mut phone = open(server, Some("sip"), None).await.unwrap();
    phone.send(text("ECHO x", "within")).await.unwrap();
    assert!(receive(&mut phone).await.is_some());
    platform.stop().await;
}

/// RFC 7118 §6: the server pings, and an answer keeps the connection.
#[tokio::test]
async fn a_client_that_answers_pings_is_kept_and_a_silent_one_is_not() {
    let (platform, server) = platform("ws-idle", |config| {
        config.stream.ping = Duration::from_millis(50);
        // Long enough that the one that answers is heard on a machine that has much else to do.
        config.stream.idle = Duration::from_secs(3);
    });
    let mut alive = open(server, Some("sip"), None).await.unwrap();
    let silent = open(server, Some("sip"), None).await.unwrap();
    let mut tcp = silent.into_inner();
    let keep = async {
        loop {
            alive.next().await.unwrap().unwrap();
        }
    };
    // The silent one does not even read; it is closed while the other one answers on.
    let closed = async {
        let mut buffer = [0; 1024];
        while tokio::io::AsyncReadExt::read(&mut tcp, &mut buffer).await.unwrap_or(0) > 0 {}
    };
    tokio::select! {
        () = keep => {}
        () = closed => {}
    }
    alive.send(text("ECHO x", "alive")).await.unwrap();
    assert!(receive(&mut alive).await.is_some());
    platform.stop().await;
}
