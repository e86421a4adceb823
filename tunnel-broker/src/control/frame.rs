//! Frames on the control connection: length, HMAC, JSON.

use std::fmt;
use std::io;

use bytes::{Buf, Bytes, BytesMut};
use hmac::{Hmac, KeyInit, Mac};
use serde::Serialize;
use serde::de::DeserializeOwned;
use sha2::Sha256;
use tokio::io::{AsyncRead, AsyncReadExt};

/// The secret that brokers and tunnel servers of one platform share.
#[derive(Clone)]
pub struct ControlKey([u8; 32]);

impl ControlKey {
    /// Takes what the key file derives for [`KEY_PURPOSE`](super::KEY_PURPOSE).
    pub fn new(key: [u8; 32]) -> ControlKey {
        ControlKey(key)
    }
}

impl fmt::Debug for ControlKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ControlKey(…)")
    }
}

/// 32 random bytes that each end chose for this connection.
pub(super) type Nonce = [u8; 32];

/// Who sends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Direction {
    FromBroker,
    FromServer,
}

/// Why a control connection cannot go on.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub(super) enum FrameError {
    #[error(transparent)]
    Io(#[from] io::Error),
    #[error("the other end closed the connection")]
    Closed,
    #[error("a message of {length} bytes is longer than the limit of {limit}")]
    TooLong { length: usize, limit: usize },
    #[error("a message was not authentic: do both machines have the same node.key_file?")]
    Forged,
    #[error("a message was not understood: {0}")]
    Json(#[from] serde_json::Error),
}

/// One direction of one connection: what is sent in it has numbers, and no number twice.
#[derive(Clone)]
pub(super) struct Seal {
    mac: Hmac<Sha256>,
    sequence: u64,
}

impl Seal {
    pub(super) fn new(key: &ControlKey, direction: Direction, broker: &Nonce, server: &Nonce) -> Seal {
        // A key shorter than a block is filled up with zeros (RFC 2104 §2).
        let mut block = [0; 64];
        if let Some(head) = block.first_chunk_mut() {
            *head = key.0;
        }
        let mut mac = Hmac::<Sha256>::new(&block.into());
        mac.update(match direction {
            Direction::FromBroker => b"centrex6 tunnel control, broker to server",
            Direction::FromServer => b"centrex6 tunnel control, server to broker",
        });
        mac.update(broker);
        mac.update(server);
        Seal { mac, sequence: 0 }
    }

    fn next(&mut self, payload: &[u8]) -> Hmac<Sha256> {
        let mac = self.mac.clone().chain_update(self.sequence.to_be_bytes()).chain_update(payload);
        self.sequence += 1;
        mac
    }

    /// Adds a message to what is about to be sent.
    pub(super) fn write(&mut self, message: &impl Serialize, into: &mut Vec<u8>) -> Result<(), FrameError> {
        let payload = serde_json::to_vec(message)?;
        let tag = self.next(&payload).finalize().into_bytes();
        write_length(TAG_BYTES + payload.len(), MAX_FRAME, into)?;
        into.extend_from_slice(&tag);
        into.extend_from_slice(&payload);
        Ok(())
    }

    /// Opens a frame.
    fn open(&mut self, mut frame: Bytes) -> Result<Bytes, FrameError> {
        if frame.len() < TAG_BYTES {
            return Err(FrameError::Forged);
        }
        let tag = frame.split_to(TAG_BYTES);
        self.next(&frame).verify_slice(&tag).map_err(|_| FrameError::Forged)?;
        Ok(frame)
    }
}

/// Adds a message without authentication to what is about to be sent.
pub(super) fn write_clear(message: &impl Serialize, into: &mut Vec<u8>) -> Result<(), FrameError> {
    let payload = serde_json::to_vec(message)?;
    write_length(payload.len(), MAX_CLEAR_FRAME, into)?;
    into.extend_from_slice(&payload);
    Ok(())
}

fn write_length(length: usize, limit: usize, into: &mut Vec<u8>) -> Result<(), FrameError> {
    match u32::try_from(length) {
        Ok(bytes) if length <= limit => into.extend_from_slice(&bytes.to_be_bytes()),
        _ => return Err(FrameError::TooLong { length, limit }),
    }
    Ok(())
}

/// Reads frames. No byte is lost when a call is cancelled.
pub(super) struct FrameReader<R> {
    stream: R,
    buffer: BytesMut,
}

impl<R: AsyncRead + Unpin> FrameReader<R> {
    pub(super) fn new(stream: R) -> Self {
        FrameReader { stream, buffer: BytesMut::new() }
    }

    /// The next message, authenticated.
    pub(super) async fn read<M: DeserializeOwned>(&mut self, seal: &mut Seal) -> Result<M, FrameError> {
        let frame = self.frame(MAX_FRAME).await?;
        Ok(serde_json::from_slice(&seal.open(frame)?)?)
    }

    /// The next message of a stranger.
    pub(super) async fn read_clear<M: DeserializeOwned>(&mut self) -> Result<M, FrameError> {
        Ok(serde_json::from_slice(&self.frame(MAX_CLEAR_FRAME).await?)?)
    }

    /// Whether a whole frame is there already.
    pub(super) fn has_frame(&self) -> bool {
        self.length().is_some_and(|length| self.buffer.len() >= LENGTH_BYTES + length)
    }

    fn length(&self) -> Option<usize> {
        let bytes = self.buffer.first_chunk::<LENGTH_BYTES>()?;
        usize::try_from(u32::from_be_bytes(*bytes)).ok()
    }

    async fn frame(&mut self, limit: usize) -> Result<Bytes, FrameError> {
        loop {
            if let Some(length) = self.length() {
                if length > limit {
                    return Err(FrameError::TooLong { length, limit });
                }
                if self.has_frame() {
                    self.buffer.advance(LENGTH_BYTES);
                    return Ok(self.buffer.split_to(length).freeze());
                }
            }
            if self.stream.read_buf(&mut self.buffer).await? == 0 {
                return Err(FrameError::Closed);
            }
        }
    }
}

const LENGTH_BYTES: usize = 4;
const TAG_BYTES: usize = 32;
/// Bytes of an authenticated frame.
const MAX_FRAME: usize = 64 * 1024;
/// Bytes of a frame from somebody who has proved nothing.
const MAX_CLEAR_FRAME: usize = 256;

#[cfg(test)]
mod tests {
    use super::*;

    const BROKER: Nonce = [1; 32];
    const SERVER: Nonce = [2; 32];

    fn seal(key: u8, direction: Direction) -> Seal {
        Seal::new(&ControlKey::new([key; 32]), direction, &BROKER, &SERVER)
    }

    /// What a reader with `seal` makes of these bytes, frame by frame.
    async fn read(bytes: &[u8], mut seal: Seal) -> Result<Vec<String>, FrameError> {
        let mut reader = FrameReader::new(bytes);
        let mut messages = Vec::new();
        loop {
            match reader.read(&mut seal).await {
                Ok(message) => messages.push(message),
                Err(FrameError::Closed) => return Ok(messages),
                Err(error) => return Err(error),
            }
        }
    }

    fn frames(messages: &[&str]) -> Vec<Vec<u8>> {
        let mut seal = seal(7, Direction::FromBroker);
        let frame = |message: &&str| {
            let mut frame = Vec::new();
            seal.write(message, &mut frame).unwrap();
            frame
        };
        messages.iter().map(frame).collect()
    }

    #[tokio::test]
    async fn what_is_sent_arrives_for_who_has_the_key() {
        let bytes = frames(&["one", "two", "two"]).concat();
        assert_eq!(read(&bytes, seal(7, Direction::FromBroker)).await.unwrap(), ["one", "two", "two"]);
        for other in [
            seal(8, Direction::FromBroker),
            seal(7, Direction::FromServer),
            Seal::new(&ControlKey::new([7; 32]), Direction::FromBroker, &[9; 32], &SERVER),
            Seal::new(&ControlKey::new([7; 32]), Direction::FromBroker, &BROKER, &[9; 32]),
        ] {
            assert!(matches!(read(&bytes, other).await, Err(FrameError::Forged)));
        }
    }

    #[tokio::test]
    async fn nothing_is_repeated_reordered_left_out_or_changed() {
        let frames = frames(&["one", "two", "three"]);
        let [one, two, three] = frames.as_slice() else { panic!("three frames") };
        for wrong in [[one, one, two], [two, one, three], [one, three, two]] {
            let bytes = wrong.map(Clone::clone).concat();
            assert!(matches!(read(&bytes, seal(7, Direction::FromBroker)).await, Err(FrameError::Forged)));
        }
        for at in LENGTH_BYTES..one.len() {
            let mut bytes = one.clone();
            bytes[at] ^= 1;
            assert!(matches!(read(&bytes, seal(7, Direction::FromBroker)).await, Err(FrameError::Forged)));
        }
    }

    #[tokio::test]
    async fn sizes_are_bounded_before_anything_is_held() {
        for (length, clear) in
            [(u32::MAX, false), (MAX_FRAME as u32 + 1, false), (MAX_CLEAR_FRAME as u32 + 1, true)]
        {
            let bytes = length.to_be_bytes();
            let mut reader = FrameReader::new(bytes.as_slice());
            let result = match clear {
                true => reader.read_clear::<String>().await,
                false => reader.read(&mut seal(7, Direction::FromBroker)).await,
            };
            assert!(matches!(result, Err(FrameError::TooLong { .. })), "{length}");
        }
        let short = [0, 0, 0, 3, 1, 2, 3];
        assert!(matches!(read(&short, seal(7, Direction::FromBroker)).await, Err(FrameError::Forged)));
    }
}
