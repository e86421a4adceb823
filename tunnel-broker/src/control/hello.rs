//! The beginning of a control connection: versions and nonces.

use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt};

use super::PROTOCOL;
use super::frame::{ControlKey, Direction, FrameError, FrameReader, Nonce, Seal, write_clear};
use super::message::Hello;

/// Why two ends did not come together.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub(super) enum HelloError {
    #[error(transparent)]
    Frame(#[from] FrameError),
    #[error(
        "the other end speaks version {theirs} of the control protocol, and we speak {PROTOCOL}: run the same release on both machines"
    )]
    Version { theirs: u32 },
    #[error("the other end does not speak the control protocol")]
    NoNonce,
    #[error("the system gives no random bytes")]
    Random,
}

/// Both directions of a connection.
pub(super) struct Seals {
    pub(super) outgoing: Seal,
    pub(super) incoming: Seal,
}

/// Says hello and hears the other end's. Proves nothing yet: the first sealed message does.
pub(super) async fn hello<R, W>(
    reader: &mut FrameReader<R>,
    writer: &mut W,
    key: &ControlKey,
    outgoing: Direction,
) -> Result<Seals, HelloError>
where
    R: AsyncRead + Unpin,
    W: AsyncWrite + Unpin,
{
    let mut ours: Nonce = [0; 32];
    getrandom::fill(&mut ours).map_err(|_| HelloError::Random)?;
    let mut bytes = Vec::new();
    write_clear(&Hello { protocol: PROTOCOL, nonce: hex::encode(ours) }, &mut bytes)?;
    writer.write_all(&bytes).await.map_err(FrameError::from)?;
    writer.flush().await.map_err(FrameError::from)?;
    let Hello { protocol, nonce } = reader.read_clear().await?;
    if protocol != PROTOCOL {
        return Err(HelloError::Version { theirs: protocol });
    }
    let mut theirs: Nonce = [0; 32];
    hex::decode_to_slice(nonce, &mut theirs).map_err(|_| HelloError::NoNonce)?;
    let (broker, server, incoming) = match outgoing {
        Direction::FromBroker => (ours, theirs, Direction::FromServer),
        Direction::FromServer => (theirs, ours, Direction::FromBroker),
    };
    let seal = |direction| Seal::new(key, direction, &broker, &server);
    Ok(Seals { outgoing: seal(outgoing), incoming: seal(incoming) })
}
