//! The dialogs that one request makes when it is forked.

use super::{Dialog, DialogError, DialogId};
use crate::flow::Flow;
use crate::wire::Message;

/// Every dialog that the responses to one of our requests made, one for each To tag (RFC 3261 §12.1, §13.2.2.4).
#[derive(Debug, Clone)]
pub struct DialogSet {
    request: Message,
    dialogs: Vec<Dialog>,
}

impl DialogSet {
    /// No dialogs yet.
    pub fn new(request: Message) -> DialogSet {
        DialogSet { request, dialogs: Vec::new() }
    }

    /// Takes a response: finds its dialog or makes it, and confirms it for a 2xx.
    ///
    /// [`DialogError::NoDialog`] for a response that makes none: a 100, or a failure.
    pub fn receive(&mut self, response: &Message, flow: Flow) -> Result<&mut Dialog, DialogError> {
        let known = DialogId::of_response(response)
            .and_then(|id| self.dialogs.iter().position(|dialog| *dialog.id() == id));
        let at = match known {
            Some(at) => at,
            None => {
                let dialog = Dialog::uac(&self.request, response, flow)?;
                if self.dialogs.len() >= MAX_DIALOGS {
                    return Err(DialogError::TooMany { limit: MAX_DIALOGS });
                }
                self.dialogs.push(dialog);
                self.dialogs.len() - 1
            }
        };
        let dialog = self.dialogs.get_mut(at).ok_or(DialogError::NoDialog)?;
        match response.status() {
            Some(status) if status.is_success() => dialog.confirm(response)?,
            Some(status) if status.is_provisional() => dialog.refresh_target(response)?,
            _ => return Err(DialogError::NoDialog),
        }
        Ok(dialog)
    }

    /// The dialogs in the order in which they were made.
    pub fn iter(&self) -> impl Iterator<Item = &Dialog> {
        self.dialogs.iter()
    }

    /// Takes one dialog out, to live on after the request's transaction.
    pub fn take(&mut self, id: &DialogId) -> Option<Dialog> {
        let at = self.dialogs.iter().position(|dialog| dialog.id() == id)?;
        Some(self.dialogs.remove(at))
    }
}

/// More phones than this never ring for one call; a peer that invents tags must not fill our memory.
const MAX_DIALOGS: usize = 32;
