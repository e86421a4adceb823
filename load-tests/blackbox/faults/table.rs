//! The table: what goes wrong, and the words without which the sentence does not name it.

use crate::support::Legs;

use super::gateway::{Then, answered, cancelled, refused};

/// A fault on a stage of the type `S`.
pub(super) struct Fault<S> {
    pub(super) name: &'static str,
    /// Makes it happen; gives the Call-ID of the call.
    pub(super) inject: fn(&mut S) -> String,
    /// What the sentence must hold.
    pub(super) says: &'static [&'static str],
}

/// The called side's gateway says no, or the parties end the call.
pub(super) const GATEWAY: &[Fault<Legs>] = &[
    Fault {
        name: "the gateway is out of service",
        inject: |legs| refused(legs, 503, &[]),
        says: &["called side", "trunk carrier", "503", "out of service"],
    },
    Fault {
        name: "no circuit",
        inject: |legs| refused(legs, 503, &[("Reason", "Q.850;cause=34")]),
        says: &["trunk carrier", "503", "cause 34", "no circuit available"],
    },
    Fault {
        name: "busy",
        inject: |legs| refused(legs, 486, &[]),
        says: &["called side", "trunk carrier", "486", "busy"],
    },
    Fault {
        name: "busy, said in Q.850",
        inject: |legs| refused(legs, 500, &[("Reason", "Q.850;cause=17")]),
        says: &["trunk carrier", "500", "user busy"],
    },
    Fault {
        name: "no such number",
        inject: |legs| refused(legs, 404, &[]),
        says: &["trunk carrier", "404", "no such number"],
    },
    Fault {
        name: "too few digits",
        inject: |legs| refused(legs, 484, &[]),
        says: &["trunk carrier", "484", "number is incomplete"],
    },
    Fault {
        name: "forbidden",
        inject: |legs| refused(legs, 403, &[]),
        says: &["trunk carrier", "403", "does not allow"],
    },
    Fault {
        name: "the gateway asks for credentials",
        inject: |legs| refused(legs, 407, &[]),
        says: &["trunk carrier", "407", "credentials"],
    },
    Fault {
        name: "the gateway takes none of our codecs",
        inject: |legs| refused(legs, 488, &[("Warning", "304 gw \"Media type not available\"")]),
        says: &["trunk carrier", "488", "no common codec", "Media type not available"],
    },
    Fault {
        name: "declined",
        inject: |legs| refused(legs, 603, &[]),
        says: &["trunk carrier", "603", "declined"],
    },
    Fault {
        name: "a time-out behind the gateway",
        inject: |legs| refused(legs, 408, &[]),
        says: &["trunk carrier", "408", "in time"],
    },
    Fault {
        name: "the gateway ends the call unasked",
        inject: |legs| refused(legs, 487, &[]),
        says: &["trunk carrier", "487", "cancelled"],
    },
    Fault {
        name: "the caller gives up",
        inject: cancelled,
        says: &["caller's side", "line s01-101", "gave up", "rang"],
    },
    Fault {
        name: "no media at all",
        inject: |legs| answered(legs, Then::Nothing),
        says: &["No media at all", "caller's side", "hung up"],
    },
    Fault {
        name: "one-way media",
        inject: |legs| answered(legs, Then::PhoneSpeaks),
        says: &["One-way media", "no RTP came from the called side"],
    },
];
