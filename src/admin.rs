//! The admin socket: the command line's way to a running node, so that two processes never write one store behind each
//! other's back.
//!
//! One request a connection, one JSON document each way, each on a line. The socket's file is its owner's alone.

use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{UnixListener, UnixStream};
use tokio::task::JoinHandle;
use tokio::time::timeout;

use crate::operation::{Office, Operation, Reply};

/// Serves the admin socket until it is dropped; then the socket's file is gone.
pub(crate) struct AdminSocket {
    path: PathBuf,
    task: JoinHandle<()>,
}

/// What goes back over the socket.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Outcome {
    Reply(Reply),
    Error(String),
}

/// Why the running node could not be asked.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub(crate) enum AskError {
    /// Nobody listens: no node runs on this machine.
    #[error("no node listens on {}", path.display())]
    NotRunning {
        /// The socket's file.
        path: PathBuf,
    },
    /// The node listens and did not answer properly.
    #[error("the node behind {} did not answer: {source}", path.display())]
    Broken {
        /// The socket's file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The node refused.
    #[error("{0}")]
    Refused(String),
}

impl AdminSocket {
    /// Listens on `path`. A file that a dead node left there is replaced; a living node's is not.
    pub(crate) async fn listen(path: &Path, office: Arc<Office>) -> io::Result<AdminSocket> {
        if UnixStream::connect(path).await.is_ok() {
            let message = format!("another node listens on {}", path.display());
            return Err(io::Error::new(io::ErrorKind::AddrInUse, message));
        }
        let _ = std::fs::remove_file(path);
        let listener = UnixListener::bind(path)?;
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600))?;
        let task = tokio::spawn(async move {
            loop {
                match listener.accept().await {
                    Ok((stream, _)) => {
                        tokio::spawn(answer(stream, Arc::clone(&office)));
                    }
                    Err(error) => {
                        tracing::warn!(%error, "the admin socket could not accept a connection");
                        tokio::time::sleep(Duration::from_millis(100)).await;
                    }
                }
            }
        });
        Ok(AdminSocket { path: path.to_owned(), task })
    }
}

impl Drop for AdminSocket {
    fn drop(&mut self) {
        self.task.abort();
        let _ = std::fs::remove_file(&self.path);
    }
}

/// Lets the node behind `path` carry out an operation.
pub(crate) async fn ask(path: &Path, operation: &Operation) -> Result<Reply, AskError> {
    let Ok(stream) = UnixStream::connect(path).await else {
        return Err(AskError::NotRunning { path: path.to_owned() });
    };
    match timeout(PATIENCE, exchange(stream, operation)).await {
        Ok(Ok(Outcome::Reply(reply))) => Ok(reply),
        Ok(Ok(Outcome::Error(reason))) => Err(AskError::Refused(reason)),
        Ok(Err(source)) => Err(AskError::Broken { path: path.to_owned(), source }),
        Err(_) => Err(AskError::Broken { path: path.to_owned(), source: io::ErrorKind::TimedOut.into() }),
    }
}

async fn exchange(mut stream: UnixStream, operation: &Operation) -> io::Result<Outcome> {
    let mut request = serde_json::to_vec(operation)?;
    request.push(b'\n');
    stream.write_all(&request).await?;
    let mut line = String::new();
    BufReader::new(stream).take(MAX_REPLY).read_line(&mut line).await?;
    Ok(serde_json::from_str(&line)?)
}

async fn answer(stream: UnixStream, office: Arc<Office>) {
    let served = timeout(PATIENCE, async {
        let (read, mut write) = stream.into_split();
        let mut line = String::new();
        BufReader::new(read).take(MAX_REQUEST).read_line(&mut line).await?;
        let outcome = match serde_json::from_str::<Operation>(&line) {
            Ok(operation) => match operation.execute(&office).await {
                Ok(reply) => Outcome::Reply(reply),
                Err(error) => Outcome::Error(error.to_string()),
            },
            Err(error) => Outcome::Error(format!(
                "the running node does not understand the request ({error}): do command line and node have the same version?"
            )),
        };
        let mut bytes = serde_json::to_vec(&outcome)?;
        bytes.push(b'\n');
        write.write_all(&bytes).await
    });
    if let Ok(Err(error)) = served.await {
        tracing::debug!(%error, "an admin request broke off");
    }
}

/// How long one request may take.
const PATIENCE: Duration = Duration::from_secs(30);
/// Bytes of a request.
const MAX_REQUEST: u64 = 64 * 1024;
/// Bytes of a reply: 27,000 lines fit several times over.
const MAX_REPLY: u64 = 256 * 1024 * 1024;
