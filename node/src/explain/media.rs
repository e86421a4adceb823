//! What was wrong with the sound of an answered call.

use std::fmt;
use std::net::SocketAddr;

use super::Leg;

/// What was heard from one side.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Heard {
    /// RTP packets taken.
    pub packets: u64,
    /// Packets that came from where this side's description does not let them come from.
    pub strange: u64,
    /// Where the first of them came from.
    pub stranger: Option<SocketAddr>,
    /// The payload type of the last packet that neither side's description names.
    pub unknown_payload: Option<u8>,
    /// Whether this side said that it sends, and the other that it wants to hear.
    pub expected: bool,
}

/// What was wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sound {
    /// Nothing came from either side.
    None,
    /// Nothing came from this side alone.
    OneWay(Leg),
    /// What came from this side came from another place than it said.
    Elsewhere(Leg, Option<SocketAddr>),
    /// This side sent a codec that was not agreed.
    WrongCodec(Leg, u8),
}

/// Judges what was heard from both sides of an answered call; `None` when there is nothing to say.
pub fn of_sound(caller: Heard, callee: Heard) -> Option<Sound> {
    let sides = [(Leg::Caller, caller), (Leg::Callee, callee)];
    let mute = |heard: &Heard| heard.expected && heard.packets == 0;
    if let Some((leg, heard)) = sides.iter().find(|(_, heard)| mute(heard) && heard.strange > 0) {
        return Some(Sound::Elsewhere(*leg, heard.stranger));
    }
    if sides.iter().all(|(_, heard)| mute(heard)) {
        return Some(Sound::None);
    }
    if let Some((leg, _)) = sides.iter().find(|(_, heard)| mute(heard)) {
        return Some(Sound::OneWay(*leg));
    }
    let (leg, payload) = sides.iter().find_map(|(leg, heard)| Some((*leg, heard.unknown_payload?)))?;
    Some(Sound::WrongCodec(leg, payload))
}

impl fmt::Display for Sound {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let side = |leg: &Leg| match leg {
            Leg::Caller => "the caller's side",
            Leg::Callee => "the called side",
        };
        match self {
            Sound::None => f.write_str("No media at all: no RTP came from either side."),
            Sound::OneWay(leg) => write!(f, "One-way media: no RTP came from {}.", side(leg)),
            Sound::Elsewhere(leg, Some(from)) => {
                write!(
                    f,
                    "Media of {} came from {from}, an unexpected source that its SDP does not name, and was dropped.",
                    side(leg)
                )
            }
            Sound::Elsewhere(leg, None) => {
                write!(
                    f,
                    "Media of {} came from an unexpected source that its SDP does not name, and was dropped.",
                    side(leg)
                )
            }
            Sound::WrongCodec(leg, payload) => {
                write!(f, "Wrong codec: {} sent RTP payload type {payload}, which was not agreed.", side(leg))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sound_is_judged() {
        let good = Heard { packets: 10, expected: true, ..Heard::default() };
        let mute = Heard { expected: true, ..Heard::default() };
        let strange = Heard { strange: 3, ..mute };
        let odd = Heard { unknown_payload: Some(9), ..good };
        for (caller, callee, expected) in [
            (good, good, None),
            (mute, mute, Some(Sound::None)),
            (mute, good, Some(Sound::OneWay(Leg::Caller))),
            (good, mute, Some(Sound::OneWay(Leg::Callee))),
            (good, Heard::default(), None),
            (mute, strange, Some(Sound::Elsewhere(Leg::Callee, None))),
            (odd, good, Some(Sound::WrongCodec(Leg::Caller, 9))),
        ] {
            assert_eq!(of_sound(caller, callee), expected, "{caller:?} {callee:?}");
        }
    }
}
