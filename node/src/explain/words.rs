//! What codes mean, for people who do not know them by heart.

/// What a final SIP status means for a call; `None` where its reason phrase says it all.
pub fn meaning(status: u16) -> Option<&'static str> {
    Some(match status {
        301 | 302 | 305 => "it wants the call to go elsewhere",
        400 => "it could not understand our message",
        401 | 407 => "it asks for credentials",
        403 => "it does not allow the call",
        404 => "it knows no such number",
        408 => "nobody behind it answered in time",
        410 => "the number is no longer in use",
        413 | 513 => "the message is too large for it",
        415 => "it does not take this kind of body",
        416 => "it does not take this kind of address",
        420 => "it lacks an extension that was required",
        421 => "it requires an extension that was not offered",
        422 => "the session timer is too short for it",
        480 => "the called party cannot be reached now",
        481 => "it does not know the call",
        482 => "the call went in a loop",
        483 => "the call passed too many hops",
        484 => "the number is incomplete",
        485 => "the number is ambiguous",
        486 => "the called party is busy",
        487 => "the call was cancelled there",
        488 | 606 => "it accepts none of the offered media: no common codec",
        491 => "another change was under way",
        493 => "it could not decrypt the body",
        500 => "it failed inside",
        501 => "it does not know this method",
        502 => "it got a bad answer from further on",
        503 => "it cannot take calls now: overloaded, out of lines or out of service",
        504 => "a server behind it did not answer in time",
        580 => "it could not meet the preconditions",
        600 => "the called party is busy everywhere",
        603 => "the called party declined",
        604 => "the number exists nowhere",
        _ => return None,
    })
}

/// What a cause of ITU-T Q.850 means.
pub fn meaning_of_q850(cause: u16) -> Option<&'static str> {
    Some(match cause {
        1 => "unallocated number",
        2 | 3 => "no route to the destination",
        16 => "normal clearing",
        17 => "user busy",
        18 => "no user responding",
        19 => "no answer from the user",
        20 => "subscriber absent",
        21 => "call rejected",
        22 => "number changed",
        27 => "destination out of order",
        28 => "number incomplete",
        31 => "normal, unspecified",
        34 => "no circuit available",
        38 => "network out of order",
        41 => "temporary failure",
        42 => "switch congestion",
        44 => "requested circuit not available",
        47 => "resource unavailable",
        57 => "bearer capability not authorized",
        58 => "bearer capability not available",
        65 => "bearer capability not implemented",
        88 => "incompatible destination",
        102 => "recovery on timer expiry",
        111 => "protocol error",
        127 => "interworking, unspecified",
        _ => return None,
    })
}

/// The rule by which a role of ours (`proxy`, `translator`) refused a call, by the status and the reason phrase that it gives for it.
pub fn rule(role: &str, status: u16, phrase: &str) -> Option<&'static str> {
    let by_phrase = match phrase {
        "Address is outside the site's prefix" => {
            "the source is refused, because its address is outside the prefix of the line's site"
        }
        "Wrong user name or password" => "wrong user name or password",
        "Line May Not Call Outside" => "the line is barred: its rights allow no calls to the outside",
        "Line May Not Call Other Countries" => "the line is barred: its rights allow no international calls",
        "No Route To This Number" => "no route leads to this number",
        "Not Registered" => "no phone is registered for the called line",
        "No Translator Available" => "no translator could be reached, or none is configured",
        "Translators Overloaded" => "overload: every translator asks for fewer calls than it is given",
        "Going Down" => "the node is draining and takes no new calls",
        "The Node Stops" => "the node was stopped",
        "Relaying Denied" => "the call is addressed to a host that is not ours, or carries a foreign Route",
        "Too Many Requests Under Way" => "overload: too many requests are under way",
        "Next Hop Unresolved" => "the next hop is no address that can be reached",
        "Next Hop Unreachable" | "Next Hop Unavailable" => "the phone could not be reached",
        _ => "",
    };
    if !by_phrase.is_empty() {
        return Some(by_phrase);
    }
    Some(match (role, status) {
        (_, 401 | 407) => "it came without a credential: the caller never answered the challenge",
        ("translator", 403) => {
            "the source is refused: no enabled trunk signals from this address and port, with the certificate that it must show"
        }
        (_, 400) => "the request is malformed",
        (_, 403) => "it is not allowed",
        (_, 404) => "no such number: no line and no route of ours is dialled so",
        (_, 413 | 513) => "the message is too large",
        (_, 415) => "its body is no SDP",
        (_, 416) => "the scheme of its address is not supported",
        (_, 420) => "it requires an extension that we do not know",
        (_, 422) => "its session timer is too short",
        (_, 440) => "its Max-Breadth leaves no branch to try",
        (_, 480) => "the called line cannot be reached now",
        (_, 482) => "the call went in a loop: it came back to be routed as before",
        (_, 483) => "too many hops: its Max-Forwards is used up",
        (_, 485) => "the number is ambiguous",
        (_, 488) => "it offers no media that can be relayed",
        (_, 503) => "overload or out of service",
        _ => return None,
    })
}
