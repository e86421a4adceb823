//! Why a call ended as it did, in one sentence of plain English: which leg, which hop, which rule or peer said so.
//!
//! The machines note a [`Why`] where they decide; its `Display` is the sentence. All words for people stand here and in [`words`], so that
//! the same cause is called the same everywhere. Nothing that a peer can choose gets in uncut, and no secret has a place in it.

mod media;
mod trouble;
mod words;

use std::fmt;
use std::net::SocketAddr;

use sip_core::flow::{Flow, Transport};

pub use self::media::{Heard, Sound, of_sound};
pub use self::trouble::{Trouble, Troubles};
pub use self::words::{meaning, meaning_of_q850, rule};

/// Why a call ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Why {
    /// The side that it happened on; `None` when it was decided between them.
    pub leg: Option<Leg>,
    /// Who is there.
    pub hop: Option<Hop>,
    /// What happened.
    pub fact: Fact,
}

/// One side of a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Leg {
    /// Toward who called.
    Caller,
    /// Toward who was called.
    Callee,
}

/// Who is at the other end: what people call it, and its address.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Hop {
    name: String,
    address: Option<(Transport, SocketAddr)>,
}

/// What ended a call.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Fact {
    /// A party hung up an answered call.
    HungUp(Option<u16>),
    /// The caller gave up before anybody answered. `rang`: the called side had said that it rings.
    Cancelled {
        /// Whether the called side rang.
        rang: bool,
    },
    /// A peer refused the call.
    Said(Said),
    /// A role of ours refused the call without asking anybody.
    Refused {
        /// The role: `proxy` or `translator`.
        role: String,
        /// What it said.
        said: Said,
        /// Whose call it was.
        caller: Hop,
    },
    /// The called side was asked, and it is our own word that went to the caller.
    Unanswered {
        /// Who was asked.
        hops: Vec<Hop>,
        /// Whether it rang there.
        rang: bool,
        /// Our word.
        said: Said,
    },
    /// Every place that could take the call was tried, in this order.
    NotTaken(Vec<(Hop, Miss)>),
    /// The other end fell silent after it had rung.
    FellSilent,
    /// Nobody picked up within so many seconds.
    RangTooLong(u64),
    /// No route names a trunk that could be used for this number (as dialled).
    NoRoute,
    /// The trunk asked for something that names no number.
    NoNumber,
    /// Media ports ran out, or could not be opened.
    NoPorts(String),
    /// Too many transactions are under way.
    TooManyTransactions,
    /// The offer holds no media that we can carry.
    NoRelayableMedia,
    /// The offer waits for resources that we do not reserve (RFC 3312 §8).
    Preconditions,
    /// The description of media cannot be read.
    Unreadable,
    /// A message breaks the protocol.
    Malformed(String),
    /// An answer came without what it must hold.
    BadAnswer(&'static str),
    /// Our 200 was never acknowledged.
    NoAck,
    /// A reliable provisional response was never acknowledged.
    NoPrack,
    /// Nobody refreshed the session within its interval.
    SessionExpired,
    /// The peer said that it does not know the call any more.
    Lost(u16),
    /// A request in the call got no response at all.
    NoResponse,
    /// The longest duration of a call, in seconds.
    CallLimit(u64),
    /// Neither RTP nor RTCP came from that side for the time-out.
    MediaSilent,
    /// The node was stopped.
    NodeStopped,
    /// The platform's own decision, in words of its own.
    Ended {
        /// The status that the caller got.
        status: Option<u16>,
        /// Why.
        words: String,
    },
}

/// A final response of a peer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Said {
    /// Its status.
    pub status: u16,
    /// Its reason phrase, cut.
    pub phrase: String,
    /// The Q.850 cause that it named.
    pub q850: Option<u16>,
    /// What a Warning or a Reason said beside it.
    pub more: Option<String>,
}

/// Why a place did not take a call.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Miss {
    /// It said no in a way that lets another be tried.
    Said(Said),
    /// It said nothing for so many seconds.
    Silent(u64),
    /// Nothing could be sent there.
    Unreachable(Option<Trouble>),
    /// It carries as many calls as it may.
    Full(Option<u32>),
    /// None of the offered codecs may pass to it, by the trunk's policy.
    Codecs,
}

impl Hop {
    /// Somebody with a name, like `trunk carrier`, at an address.
    pub fn new(name: impl Into<String>, at: &Flow) -> Hop {
        Hop { name: clean(&name.into()), address: Some((at.transport, at.remote)) }
    }

    /// Whether both are at one address.
    pub fn is_at_address_of(&self, other: &Hop) -> bool {
        self.address.is_some() && self.address == other.address
    }

    /// Somebody whose address is not known.
    pub fn named(name: impl Into<String>) -> Hop {
        Hop { name: clean(&name.into()), address: None }
    }
}

impl fmt::Display for Hop {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.name)?;
        let Some((transport, address)) = &self.address else { return Ok(()) };
        let between = if self.name.is_empty() { "" } else { " at " };
        write!(f, "{between}{}:{address}", transport.as_str().to_ascii_lowercase())
    }
}

impl Why {
    /// What happened on a side.
    pub fn on(leg: Leg, hop: Hop, fact: Fact) -> Why {
        Why { leg: Some(leg), hop: Some(hop), fact }
    }

    /// What happened between the sides.
    pub fn between(fact: Fact) -> Why {
        Why { leg: None, hop: None, fact }
    }

    /// Who it was, as the beginning of a sentence.
    fn who(&self) -> String {
        let leg = match self.leg {
            Some(Leg::Caller) => "The caller's side",
            Some(Leg::Callee) => "The called side",
            None => "The platform",
        };
        match &self.hop {
            Some(hop) => format!("{leg} ({hop})"),
            None => leg.to_owned(),
        }
    }
}

impl Said {
    /// Cuts what the peer chose.
    pub fn new(status: u16, phrase: &str, q850: Option<u16>, more: Option<&str>) -> Said {
        Said { status, phrase: clean(phrase), q850, more: more.map(clean).filter(|more| !more.is_empty()) }
    }
}

impl Said {
    /// Like `486 Busy Here`.
    fn code(&self) -> String {
        format!("{} {}", self.status, self.phrase).trim_end().to_owned()
    }
}

impl fmt::Display for Said {
    /// Like `486 Busy Here (the called party is busy)`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.status)?;
        if !self.phrase.is_empty() {
            write!(f, " {}", self.phrase)?;
        }
        let cause = self.q850.map(|cause| match meaning_of_q850(cause) {
            Some(meaning) => format!("Q.850 cause {cause}: {meaning}"),
            None => format!("Q.850 cause {cause}"),
        });
        let notes: Vec<String> = [
            meaning(self.status).map(str::to_owned),
            cause,
            self.more.as_ref().map(|more| format!("it added \"{more}\"")),
        ]
        .into_iter()
        .flatten()
        .collect();
        if notes.is_empty() { Ok(()) } else { write!(f, " ({})", notes.join("; ")) }
    }
}

impl fmt::Display for Miss {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Miss::Said(said) => write!(f, "answered {said}"),
            Miss::Silent(seconds) => write!(f, "gave no answer to the INVITE within {seconds} s (time-out)"),
            Miss::Unreachable(Some(trouble)) => write!(f, "could not be reached: {trouble}"),
            Miss::Unreachable(None) => f.write_str("could not be reached (transport error)"),
            Miss::Full(Some(limit)) => write!(f, "was full: it may carry {limit} calls at once"),
            Miss::Full(None) => f.write_str("was full"),
            Miss::Codecs => {
                f.write_str("allows none of the offered codecs (no common codec, by the trunk's policy)")
            }
        }
    }
}

impl fmt::Display for Why {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let who = self.who();
        match &self.fact {
            Fact::HungUp(None | Some(16)) => write!(f, "{who} hung up."),
            Fact::HungUp(Some(cause)) => {
                let meaning = meaning_of_q850(*cause).unwrap_or("no common meaning");
                write!(f, "{who} hung up, for Q.850 cause {cause}: {meaning}.")
            }
            Fact::Cancelled { rang: true } => write!(f, "{who} gave up while the called side rang."),
            Fact::Cancelled { rang: false } => write!(f, "{who} gave up before the called side rang."),
            Fact::Said(said) => write!(f, "{who} refused the call with {said}."),
            Fact::Refused { role, said, caller } => {
                let code = said.code();
                write!(f, "Our {role} refused the call of the caller ({caller}) with {code}")?;
                match rule(role, said.status, &said.phrase) {
                    Some(rule) => write!(f, ": {rule}")?,
                    None => write!(f, ": {}", meaning(said.status).unwrap_or("for a reason of its own"))?,
                }
                match &said.more {
                    Some(more) => write!(f, " ({more})."),
                    None => f.write_str("."),
                }
            }
            Fact::Unanswered { hops, rang, said } => {
                let hops: Vec<String> = hops.iter().map(Hop::to_string).collect();
                let (who, code) = (hops.join(", "), said.code());
                match rang {
                    true => write!(
                        f,
                        "The called side ({who}) rang and gave no final answer before the time-out (no answer); the caller got {code}."
                    ),
                    false => write!(
                        f,
                        "The called side ({who}) gave no response at all (time-out, or unreachable); the caller got {code}."
                    ),
                }
            }
            Fact::NotTaken(tried) if tried.is_empty() => {
                f.write_str("No gateway could be tried on the called side.")
            }
            Fact::NotTaken(tried) => {
                let each: Vec<String> = tried.iter().map(|(hop, miss)| format!("{hop} {miss}")).collect();
                write!(f, "Nobody on the called side took the call: {}.", each.join("; then "))
            }
            Fact::FellSilent => write!(
                f,
                "{who} fell silent after it had begun to ring: no final answer came before the time-out."
            ),
            Fact::RangTooLong(seconds) => write!(
                f,
                "{who} rang for {seconds} s and nobody answered, so the platform ended the call (no answer)."
            ),
            Fact::NoRoute => {
                write!(f, "{who} refused the call: no route leads to this number over an enabled trunk.")
            }
            Fact::NoNumber => write!(
                f,
                "{who} asked for something that is no telephone number, so the call has nowhere to go."
            ),
            Fact::NoPorts(reason) => write!(f, "{who} refused the call: no media ports ({}).", clean(reason)),
            Fact::TooManyTransactions => {
                write!(f, "{who} refused the call: too many transactions are under way (overload).")
            }
            Fact::NoRelayableMedia => write!(
                f,
                "{who} offered no media that the platform can carry (488): it relays RTP and fax over UDP only."
            ),
            Fact::Preconditions => write!(
                f,
                "{who} demanded preconditions (reserved resources) that the platform does not offer (580)."
            ),
            Fact::Unreadable => {
                write!(f, "{who} sent a description of media (SDP) that cannot be read (488).")
            }
            Fact::Malformed(what) => {
                write!(f, "{who} sent an INVITE that breaks the protocol: {}.", clean(what))
            }
            Fact::BadAnswer(what) => write!(f, "{who} answered in a way that cannot stand: {what}."),
            Fact::NoAck => {
                write!(f, "{who} never acknowledged the 200 OK (no ACK), so the platform ended the call.")
            }
            Fact::NoPrack => write!(
                f,
                "{who} never acknowledged a reliable provisional response (no PRACK), so the platform ended the call."
            ),
            Fact::SessionExpired => write!(
                f,
                "{who} let the session timer lapse: nobody refreshed the session in time, so the platform ended the call."
            ),
            Fact::Lost(status) => {
                write!(f, "{who} no longer knew the call (it said {status}), so the platform ended it.")
            }
            Fact::NoResponse => write!(
                f,
                "{who} gave no response to a request within the call (time-out), so the platform ended it."
            ),
            Fact::CallLimit(seconds) => {
                write!(f, "{who} ended the call: it had reached the longest duration of {seconds} s.")
            }
            Fact::MediaSilent => write!(
                f,
                "{who} sent no media any more: neither RTP nor RTCP came before the media time-out, so the platform ended the call."
            ),
            Fact::Ended { status: Some(status), words } => {
                write!(f, "{who} ended the call with {status}: {}.", clean(words))
            }
            Fact::Ended { status: None, words } => write!(f, "{who} ended the call: {}.", clean(words)),
            Fact::NodeStopped => write!(f, "{who} ended the call: the node was stopped."),
        }
    }
}

/// Texts of peers: printable ASCII, and not much of it.
fn clean(text: &str) -> String {
    text.chars().filter(|c| c.is_ascii_graphic() || *c == ' ').take(MOST_CHARACTERS).collect()
}

/// Of a text that a peer chose.
const MOST_CHARACTERS: usize = 80;

#[cfg(test)]
mod tests {
    use super::*;

    fn carrier() -> Hop {
        let flow = Flow {
            transport: Transport::Udp,
            local: "192.0.2.1:5070".parse().unwrap(),
            remote: "192.0.2.9:5060".parse().unwrap(),
            connection: None,
        };
        Hop::new("trunk carrier", &flow)
    }

    #[test]
    fn a_sentence_names_leg_hop_and_cause() {
        let busy = Fact::Said(Said::new(486, "Busy Here", Some(17), Some("try\r\n later")));
        assert_eq!(
            Why::on(Leg::Callee, carrier(), busy).to_string(),
            "The called side (trunk carrier at udp:192.0.2.9:5060) refused the call with 486 Busy Here (the called party is busy; \
             Q.850 cause 17: user busy; it added \"try later\")."
        );
        let tried = vec![
            (carrier(), Miss::Silent(4)),
            (Hop::named("trunk two"), Miss::Unreachable(Some(Trouble::Refused))),
        ];
        assert_eq!(
            Why::between(Fact::NotTaken(tried)).to_string(),
            "Nobody on the called side took the call: trunk carrier at udp:192.0.2.9:5060 gave no answer to the INVITE within 4 s (time-out); \
             then trunk two could not be reached: connection refused (nothing listens there)."
        );
        assert_eq!(
            Why::between(Fact::NoRoute).to_string(),
            "The platform refused the call: no route leads to this number over an enabled trunk."
        );
    }

    #[test]
    fn what_peers_choose_is_cut() {
        let said = Said::new(500, &"x".repeat(1_000), None, Some("\u{7}\n"));
        assert!(said.phrase.len() == MOST_CHARACTERS && said.more.is_none());
    }
}
