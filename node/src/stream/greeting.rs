//! What comes before the first message of a connection: nothing over TCP, a handshake over TLS.

use std::io;

use rustls::CommonState;
use rustls::pki_types::CertificateDer;
use sip_core::flow::Transport;
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::{client, server};

use super::connection::{self, Connection};
use super::{Shared, StreamEvent};
use crate::handover::Handed;
use crate::tls::{self, RoleTls, TlsError};

/// Why there was no connection after all.
#[derive(Debug, thiserror::Error)]
enum Failure {
    #[error("this node has no certificate")]
    NoCertificate,
    #[error("the TLS handshake took too long")]
    Late,
    #[error("TLS handshake: {0}")]
    Handshake(#[from] io::Error),
    #[error(transparent)]
    Setup(#[from] std::sync::Arc<TlsError>),
    #[error("{0:?} is no name that a certificate could have")]
    Name(String),
    #[error("the certificate is not valid for {0}")]
    OtherName(String),
}

/// Serves a connection that somebody opened to us.
pub(super) async fn accepted(stream: TcpStream, connection: Connection) {
    match connection.flow.transport {
        Transport::Tls => match greet_client(stream, &connection.shared).await {
            Ok(stream) => {
                identify(stream.get_ref().1, &connection).await;
                connection::serve(stream, connection).await;
            }
            Err(failure) => give_up(failure, connection).await,
        },
        _ => connection::serve(stream, connection).await,
    }
}

/// Serves a connection that we opened.
pub(super) async fn opened(stream: TcpStream, connection: Connection) {
    match connection.flow.transport {
        Transport::Tls => match greet_server(stream, &connection).await {
            Ok(stream) => {
                identify(stream.get_ref().1, &connection).await;
                connection::serve(stream, connection).await;
            }
            Err(failure) => {
                // Nobody but us chose this peer: its operator or ours has something to set right.
                tracing::warn!(remote = %connection.shared.mask.addr(connection.flow.remote), reason = %failure, "no TLS connection");
                give_up(failure, connection).await;
            }
        },
        _ => connection::serve(stream, connection).await,
    }
}

async fn greet_client(stream: TcpStream, shared: &Shared) -> Result<server::TlsStream<TcpStream>, Failure> {
    let tls = shared.tls.as_ref().ok_or(Failure::NoCertificate)?;
    let acceptor = tls.acceptor().ok_or(Failure::NoCertificate)?;
    Ok(timeout(tls.handshake(), acceptor.accept(stream)).await.map_err(|_| Failure::Late)??)
}

async fn greet_server(
    stream: TcpStream,
    connection: &Connection,
) -> Result<client::TlsStream<TcpStream>, Failure> {
    let tls: &RoleTls = connection.shared.tls.as_ref().ok_or(Failure::NoCertificate)?;
    let names = tls.names_at(connection.flow.remote);
    let parsed = |name: &String| tls::server_name(name).map_err(|_| Failure::Name(name.clone()));
    let names = names.iter().map(parsed).collect::<Result<Vec<_>, _>>()?;
    let (first, others) = names.split_first().ok_or(Failure::NoCertificate)?;
    let connector = tls.connector()?;
    let handshake = connector.connect(first.clone(), stream);
    let stream = timeout(tls.handshake(), handshake).await.map_err(|_| Failure::Late)??;
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
    connection::give_up(queue, id, &shared).await;
}
