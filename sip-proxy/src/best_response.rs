//! Which of several final responses goes upstream (RFC 3261 §16.7, step 6).

use sip_core::wire::StatusCode;

/// The place of the best among the statuses, or `None` when there are none. Of equals the earliest wins.
///
/// A 6xx wins over all; else the lowest class, and within a class what helps the caller most.
pub(crate) fn best(statuses: impl IntoIterator<Item = StatusCode>) -> Option<usize> {
    statuses.into_iter().enumerate().min_by_key(|(_, status)| rank(*status)).map(|(place, _)| place)
}

/// Smaller is better: class, then usefulness within the class.
fn rank(status: StatusCode) -> (u16, u8) {
    let class = match status.class() {
        6 => 0,
        class => class,
    };
    let within = match status {
        // Named by the RFC: they tell the caller how to try again.
        StatusCode::UNAUTHORIZED
        | StatusCode::PROXY_AUTHENTICATION_REQUIRED
        | StatusCode::UNSUPPORTED_MEDIA_TYPE
        | StatusCode::BAD_EXTENSION
        | StatusCode::ADDRESS_INCOMPLETE => 0,
        // Somebody was reached and is busy: worth more than that somebody else was not reached.
        StatusCode::BUSY_HERE => 1,
        StatusCode::TEMPORARILY_UNAVAILABLE => 3,
        // Mostly our own words for silence and for branches that we ended ourselves.
        StatusCode::REQUEST_TIMEOUT => 4,
        StatusCode::REQUEST_TERMINATED => 5,
        // Another 5xx can be forwarded as it is; this one cannot.
        StatusCode::SERVICE_UNAVAILABLE => 6,
        _ => 2,
    };
    (class, within)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn chooses_as_the_rfc_says() {
        for (statuses, expected) in [
            (&[404][..], 404),
            (&[404, 302, 503], 302),
            (&[486, 603], 603),
            (&[603, 302], 603),
            (&[500, 404], 404),
            (&[503, 500], 500),
            (&[503, 408], 408),
            (&[404, 401], 401),
            (&[486, 407], 407),
            (&[404, 484], 484),
            (&[408, 486], 486),
            (&[480, 486], 486),
            (&[408, 480], 480),
            (&[487, 408], 408),
            (&[480, 404], 404),
            (&[404, 410], 404),
            (&[410, 404], 410),
        ] {
            let codes = statuses.iter().map(|code| StatusCode::new(*code).unwrap());
            let place = best(codes).unwrap();
            assert_eq!(statuses[place], expected, "{statuses:?}");
        }
        assert_eq!(best([]), None);
    }
}
