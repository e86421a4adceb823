//! What a peer says it understands.

use sip_core::wire::header::{Allow, Require, Supported, TokenList};
use sip_core::wire::{Message, Method, Name};

/// A peer's Allow and Supported, as far as it has said them.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Peer {
    /// Whether it takes UPDATE; unknown before it has said so.
    update: Option<bool>,
    /// Whether it knows session timers (RFC 4028).
    pub(crate) timer: bool,
    /// Whether it wants to hear of early dialogs that end (RFC 6228).
    pub(crate) early_ends: bool,
}

/// Whether a peer takes provisional responses reliably (RFC 3262 §3).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) enum Reliability {
    /// It does not know how.
    #[default]
    Unknown,
    /// It can.
    Supported,
    /// It takes no others.
    Required,
}

impl Peer {
    /// Takes what a message of the peer says; what it does not say stays.
    pub(crate) fn learn(&mut self, message: &Message) {
        if message.has(Name::Allow) {
            self.update = Some(message.all::<Allow>().flatten().any(|allowed| allowed.0 == "UPDATE"));
        } else if message.is(&Method::Update) {
            self.update = Some(true);
        }
        if message.has(Name::Supported) {
            self.timer = supports(message, "timer");
            self.early_ends = supports(message, "199");
        }
        self.timer |= requires(message, "timer");
    }

    /// Whether UPDATE can be sent to it.
    pub(crate) fn takes_update(&self) -> bool {
        self.update == Some(true)
    }

    /// It refused an UPDATE as a method that it does not know.
    pub(crate) fn refused_update(&mut self) {
        self.update = Some(false);
    }
}

impl Reliability {
    /// What the sender of an INVITE says.
    pub(crate) fn of(invite: &Message) -> Reliability {
        if requires(invite, RELIABLE) {
            Reliability::Required
        } else if supports(invite, RELIABLE) {
            Reliability::Supported
        } else {
            Reliability::Unknown
        }
    }
}

/// Whether a message lists this option tag as supported.
pub(crate) fn supports(message: &Message, tag: &str) -> bool {
    message.all::<Supported>().flatten().any(|supported| supported.is(tag))
}

/// Whether a message requires this option.
pub(crate) fn requires(message: &Message, tag: &str) -> bool {
    message.all::<Require>().flatten().any(|required| required.is(tag))
}

/// The option tag of reliable provisional responses (RFC 3262 §8).
pub(crate) const RELIABLE: &str = "100rel";

#[cfg(test)]
mod tests {
    use sip_core::wire::Builder;

    use super::*;

    fn message(headers: &[(Name, &str)]) -> Message {
        let builder = Builder::request(&Method::Invite, "sip:a@192.0.2.1");
        headers.iter().fold(builder, |builder, (name, value)| builder.header(*name, value)).finish()
    }

    #[test]
    fn what_is_not_said_stays() {
        let mut peer = Peer::default();
        peer.learn(&message(&[]));
        assert!(!peer.takes_update() && !peer.timer);
        peer.learn(&message(&[(Name::Allow, "INVITE, UPDATE"), (Name::Supported, "Timer, 199")]));
        assert!(peer.takes_update() && peer.timer && peer.early_ends);
        peer.learn(&message(&[]));
        assert!(peer.takes_update() && peer.timer);
        peer.learn(&message(&[(Name::Allow, "INVITE"), (Name::Supported, "100rel")]));
        assert!(!peer.takes_update() && !peer.timer && !peer.early_ends);
        peer.learn(&message(&[(Name::Require, "timer")]));
        assert!(peer.timer);
    }

    #[test]
    fn reliability_is_known_supported_or_required() {
        assert_eq!(Reliability::of(&message(&[])), Reliability::Unknown);
        assert_eq!(Reliability::of(&message(&[(Name::Supported, "timer, 100REL")])), Reliability::Supported);
        let both = message(&[(Name::Supported, "100rel"), (Name::Require, "100rel")]);
        assert_eq!(Reliability::of(&both), Reliability::Required);
    }
}
