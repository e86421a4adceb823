//! Why a message fits no dialog.

use crate::wire::{HeaderError, StatusCode};

/// Why a dialog could not be made, or why a message does not belong in it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum DialogError {
    /// A header that the dialog needs is missing or makes no sense.
    #[error(transparent)]
    Header(#[from] HeaderError),
    /// A 100, a provisional response without a To tag, or a final response other than 2xx: none of these makes a dialog.
    #[error("the response makes no dialog")]
    NoDialog,
    /// The message carries other identifiers than the dialog's.
    #[error("the message belongs to another dialog")]
    Foreign,
    /// The request is older than one that came before (RFC 3261 §12.2.2).
    #[error("CSeq {received} is lower than {seen}, which came before")]
    OutOfOrder {
        /// The request's number.
        received: u32,
        /// The highest number before.
        seen: u32,
    },
    /// More answerers than a forked request may plausibly have.
    #[error("more than {limit} dialogs from one request")]
    TooMany {
        /// Dialogs allowed.
        limit: usize,
    },
}

impl DialogError {
    /// The status with which a request that has this fault is refused. A 500 wants a Retry-After of 0 to 10 s.
    pub fn status(&self) -> StatusCode {
        match self {
            DialogError::OutOfOrder { .. } => StatusCode::SERVER_INTERNAL_ERROR,
            DialogError::Foreign => StatusCode::CALL_DOES_NOT_EXIST,
            _ => StatusCode::BAD_REQUEST,
        }
    }
}
