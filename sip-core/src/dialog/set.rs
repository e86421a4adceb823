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
        // A peer of RFC 2543 has no tag: all that it says is about one dialog.
        let remote_tag = response.to_tag().unwrap_or_default();
        let known = self.dialogs.iter().position(|dialog| dialog.id().remote_tag == remote_tag);
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
            // One that the 2xx has overtaken changes nothing.
            Some(status) if status.is_provisional() && dialog.is_confirmed() => {}
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

#[cfg(test)]
mod tests {
    use super::super::state::tests::{INVITE, flow, parse};
    use super::*;

    fn response(status: &str, tag: &str) -> Message {
        parse(&format!(
            "SIP/2.0 {status}\r\nVia: SIP/2.0/UDP [2001:db8::1];branch=z9hG4bK1\r\nFrom: <sip:102@s042.example.net>;tag=f\r\n\
             To: <sip:101@s042.example.net>;tag={tag}\r\nCall-ID: c\r\nCSeq: 7 INVITE\r\n\
             Contact: <sip:101@[2001:db8::{tag}]>\r\n\r\n"
        ))
    }

    /// RFC 3261 §12.1, §13.2.2.4: one dialog for each To tag, confirmed one by one.
    #[test]
    fn forks_make_dialogs_of_their_own() {
        let mut set = DialogSet::new(parse(INVITE));
        for (status, tag, confirmed) in [
            ("180 R", "a", false),
            ("180 R", "b", false),
            ("183 S", "a", false),
            ("200 OK", "b", true),
            ("200 OK", "c", true),
            ("180 late", "b", true),
        ] {
            let dialog = set.receive(&response(status, tag), flow()).unwrap();
            assert_eq!((dialog.id().remote_tag.as_str(), dialog.is_confirmed()), (tag, confirmed));
        }
        assert_eq!(set.iter().map(Dialog::is_confirmed).collect::<Vec<_>>(), [false, true, true]);
        let id = set.iter().nth(1).unwrap().id().clone();
        assert_eq!(set.take(&id).unwrap().id(), &id);
        assert!(set.take(&id).is_none());
    }

    /// RFC 3261 §13.2.2.4: a 2xx that comes again is about the same dialog, also from a peer without a tag.
    #[test]
    fn a_peer_without_a_tag_has_one_dialog() {
        let mut set = DialogSet::new(parse(INVITE));
        for _ in 0..2 {
            let untagged = response("200 OK", "a")
                .edit()
                .set(crate::wire::Name::To, "<sip:101@s042.example.net>")
                .finish();
            assert_eq!(set.receive(&untagged, flow()).unwrap().id().remote_tag, "");
        }
        assert_eq!(set.iter().count(), 1);
    }

    #[test]
    fn what_makes_no_dialog() {
        let mut set = DialogSet::new(parse(INVITE));
        for status in ["486 Busy", "302 Moved"] {
            assert_eq!(set.receive(&response(status, "a"), flow()).unwrap_err(), DialogError::NoDialog);
        }
        let trying = parse(
            "SIP/2.0 100 T\r\nFrom: <sip:a@b>;tag=f\r\nTo: <sip:c@d>\r\nCall-ID: c\r\nCSeq: 7 INVITE\r\n\r\n",
        );
        assert_eq!(set.receive(&trying, flow()).unwrap_err(), DialogError::NoDialog);
    }

    #[test]
    fn a_peer_that_invents_tags_is_bounded() {
        let mut set = DialogSet::new(parse(INVITE));
        for tag in 0..MAX_DIALOGS {
            assert!(set.receive(&response("180 R", &tag.to_string()), flow()).is_ok());
        }
        let error = set
            .receive(&response("180 R", "more").edit().remove(crate::wire::Name::Contact).finish(), flow());
        assert_eq!(error.unwrap_err(), DialogError::TooMany { limit: MAX_DIALOGS });
    }
}
