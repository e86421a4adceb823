//! What comes before the first message of a connection: nothing over TCP, a handshake over TLS, one of HTTP over WebSocket.

use std::io;

use rustls::CommonState;
use rustls::pki_types::CertificateDer;
use sip_core::flow::Transport;
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::{client, server};
use tokio_tungstenite::tungstenite;

use super::session::{self, Connection};
use super::{Shared, StreamEvent, connection, websocket};
use crate::handover::Handed;
use crate::tls::{self, RoleTls, TlsError};

/// Why there was no connection after all.
#[derive(Debug, thiserror::Error)]
enum Failure {
    #[error("this node has no certificate")]
    NoCertificate,
    #[error("the handshake took too long")]
    Late,
    #[error("TLS handshake: {0}")]
    Handshake(#[from] io::Error),
    #[error("WebSocket handshake: {0}")]
    WebSocket(#[from] Box<tungstenite::Error>),
    #[error(transparent)]
    Setup(#[from] std::sync::Arc<TlsError>),
    #[error("{0:?} is no name that a certificate could have")]
    Name(String),
    #[error("the certificate is not valid for {0}")]
    OtherName(String),
}

/// Serves a connection that somebody opened to us.
pub(super) async fn accepted(stream: TcpStream, connection: Connection) {
    let limit = connection.shared.limits.handshake;
    // What a handshake needs is much, and not kept: it lies outside what the connection keeps for ever.
    match connection.flow.transport {
        Transport::Tls => match bounded(limit, Box::pin(greet_client(stream, &connection.shared))).await {
            Ok(stream) => {
                identify(stream.get_ref().1, &connection).await;
                connection::serve(stream, connection).await;
            }
            Err(failure) => give_up(failure, connection).await,
        },
        Transport::Ws => match bounded(limit, Box::pin(upgrade(stream, &connection.shared))).await {
            Ok(stream) => websocket::serve(stream, connection).await,
            Err(failure) => give_up(failure, connection).await,
        },
        Transport::Wss => match bounded(limit, Box::pin(upgrade_under_tls(stream, &connection.shared))).await
        {
            Ok(stream) => websocket::serve(stream, connection).await,
            Err(failure) => give_up(failure, connection).await,
        },
        Transport::Tcp | Transport::Udp => connection::serve(stream, connection).await,
    }
}

/// Serves a connection that we opened.
pub(super) async fn opened(stream: TcpStream, connection: Connection) {
    let limit = connection.shared.limits.handshake;
    match connection.flow.transport {
        Transport::Tls => match bounded(limit, Box::pin(greet_server(stream, &connection))).await {
            Ok(stream) => {
                identify(stream.get_ref().1, &connection).await;
                connection::serve(stream, connection).await;
            }
            Err(failure) => {
                // Nobody but us chose this peer: its operator or ours has something to set right.
                let remote = connection.shared.mask.addr(connection.flow.remote);
                tracing::warn!(%remote, reason = %failure, "no TLS connection");
                give_up(failure, connection).await;
            }
        },
        _ => connection::serve(stream, connection).await,
    }
}

async fn bounded<T>(
    limit: std::time::Duration,
    handshake: impl Future<Output = Result<T, Failure>>,
) -> Result<T, Failure> {
    timeout(limit, handshake).await.map_err(|_| Failure::Late)?
}

async fn greet_client(stream: TcpStream, shared: &Shared) -> Result<server::TlsStream<TcpStream>, Failure> {
    let acceptor = shared.tls.as_ref().and_then(RoleTls::acceptor).ok_or(Failure::NoCertificate)?;
    Ok(acceptor.accept(stream).await?)
}

async fn upgrade(
    stream: TcpStream,
    shared: &Shared,
) -> Result<tokio_tungstenite::WebSocketStream<TcpStream>, Failure> {
    Ok(websocket::accept(stream, shared).await?)
}

async fn upgrade_under_tls(
    stream: TcpStream,
    shared: &Shared,
) -> Result<tokio_tungstenite::WebSocketStream<server::TlsStream<TcpStream>>, Failure> {
    let stream = greet_client(stream, shared).await?;
    Ok(websocket::accept(stream, shared).await?)
}

async fn greet_server(
    stream: TcpStream,
    connection: &Connection,
) -> Result<client::TlsStream<TcpStream>, Failure> {
    let tls = connection.shared.tls.as_ref().ok_or(Failure::NoCertificate)?;
    let names = tls.names_at(connection.flow.remote);
    let parsed = |name: &String| tls::server_name(name).map_err(|_| Failure::Name(name.clone()));
    let names = names.iter().map(parsed).collect::<Result<Vec<_>, _>>()?;
    let (first, others) = names.split_first().ok_or(Failure::NoCertificate)?;
    let stream = tls.connector()?.connect(first.clone(), stream).await?;
    let certificate = certificate(stream.get_ref().1);
    for name in others {
        if !certificate.is_some_and(|certificate| tls::is_valid_for(certificate, name)) {
            return Err(Failure::OtherName(name.to_str().into_owned()));
        }
    }
    Ok(stream)
}

/// Tells every worker who the peer is, before anything that it sends.
async fn identify(tls: &CommonState, connection: &Connection) {
    let Some(certificate) = certificate(tls) else { return };
    let (id, shared, names) = (connection.id, &connection.shared, tls::names_of(certificate));
    for peer in shared.peers.others(shared.worker) {
        let _ = peer.send(Handed::Identified { connection: id, names: names.clone() }).await;
    }
    let _ = shared.events.send(StreamEvent::Identified { connection: id, names }).await;
}

fn certificate(tls: &CommonState) -> Option<&CertificateDer<'static>> {
    tls.peer_certificates()?.first()
}

async fn give_up(failure: Failure, connection: Connection) {
    let Connection { flow, id, shared, queue } = connection;
    match failure {
        Failure::Late => shared.metrics.handshakes_timed_out.increment(1),
        _ => shared.metrics.handshakes_refused.increment(1),
    }
    tracing::debug!(remote = %shared.mask.addr(flow.remote), reason = %failure, "no connection");
    session::give_up(queue, id, &shared).await;
}
