//! Overload control between neighbours (RFC 7339), with its loss-based scheme: the parameters stand in the topmost Via.

use std::time::{Duration, Instant};

use crate::wire::header::Via;

/// Says in the Via of a request of ours that we understand feedback (RFC 7339 §4.1, §4.2).
pub fn offer(via: &mut Via) {
    via.params.set("oc", None);
    via.params.set("oc-algo", Some("\"loss\""));
}

/// What a server tells the hop before it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Feedback {
    /// How many of a hundred requests that hop shall keep back.
    pub loss: u8,
    /// For how long, unless it hears something newer.
    pub validity: Duration,
    /// Orders what is told (RFC 7339 §4.4): milliseconds since 1970.
    pub sequence: u64,
}

impl Feedback {
    /// Writes it into the Via of a request whose sender understands it (RFC 7339 §5.1); `false` where it does not. Each response to the
    /// request carries that Via back.
    pub fn write(&self, via: &mut Via) -> bool {
        let algorithms = via.params.value("oc-algo").unwrap_or_default().trim_matches('"');
        let knows_loss = algorithms.split(',').any(|word| word.trim().eq_ignore_ascii_case("loss"));
        if !knows_loss || !via.params.has("oc") || via.params.value("oc").is_some() {
            return false;
        }
        // RFC 7339 §5.7: no loss, and valid for no time: overload control is off.
        let validity = if self.loss == 0 { 0 } else { self.validity.as_millis() };
        via.params.set("oc", Some(&self.loss.min(100).to_string()));
        via.params.set("oc-algo", Some("\"loss\""));
        via.params.set("oc-validity", Some(&validity.to_string()));
        via.params.set("oc-seq", Some(&format!("{}.{:03}", self.sequence / 1000, self.sequence % 1000)));
        true
    }

    /// Reads it from the topmost Via of a response. `None` when it holds none, or one that makes no sense.
    pub fn read(via: &Via) -> Option<Feedback> {
        let loss: u8 = via.params.value("oc")?.parse().ok()?;
        let is_loss = via
            .params
            .value("oc-algo")
            .is_none_or(|word| word.trim_matches('"').trim().eq_ignore_ascii_case("loss"));
        if loss > 100 || !is_loss {
            return None;
        }
        let validity = match via.params.value("oc-validity") {
            Some(text) => Duration::from_millis(text.parse::<u32>().ok()?.into()),
            None => DEFAULT_VALIDITY,
        };
        let (seconds, rest) = via.params.value("oc-seq")?.split_once('.')?;
        let millis: u64 = format!("{rest:0<3}").get(..3)?.parse().ok()?;
        let sequence = seconds.parse::<u64>().ok()?.checked_mul(1000)?.checked_add(millis)?;
        Some(Feedback { loss, validity, sequence })
    }
}

/// What a client keeps of the feedback of one server.
#[derive(Debug, Clone, Copy, Default)]
pub struct Throttle {
    latest: Option<(Feedback, Instant)>,
}

impl Throttle {
    /// Takes what a response says. What is older than what is known changes nothing (RFC 7339 §5.2).
    pub fn learn(&mut self, now: Instant, feedback: Feedback) {
        if self.latest.is_none_or(|(known, _)| known.sequence < feedback.sequence) {
            self.latest = Some((feedback, now + feedback.validity.min(LONGEST)));
        }
    }

    /// Whether a request may go there: by chance, as the server wants it (RFC 7339 §7.2). `random` is any number.
    pub fn admits(&self, now: Instant, random: u64) -> bool {
        match self.latest {
            Some((feedback, until)) if now < until => random % 100 >= u64::from(feedback.loss),
            _ => true,
        }
    }
}

/// How many of a hundred to keep back when so much of what there is is used (0 to 1): none up to four fifths, and all when all is.
pub fn loss_of(used: f64) -> u8 {
    let over = (used - RELAXED) / (1.0 - RELAXED);
    (over.clamp(0.0, 1.0) * 100.0) as u8
}

/// RFC 7339 §4.3.
const DEFAULT_VALIDITY: Duration = Duration::from_millis(500);
/// Nobody keeps us from calling for longer.
const LONGEST: Duration = Duration::from_secs(60);
/// Up to here nobody is told anything.
const RELAXED: f64 = 0.8;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::Header;

    fn via(params: &str) -> Via {
        Via::parse(&format!("SIP/2.0/UDP [::1]:5060;branch=z9hG4bK1{params}")).unwrap()
    }

    fn feedback(loss: u8, sequence: u64) -> Feedback {
        Feedback { loss, validity: Duration::from_millis(500), sequence }
    }

    /// RFC 7339 §5.1: the client says that it understands, and only then is it told.
    /// RFC 7339 §4: what is written is read again.
    #[test]
    fn there_and_back() {
        let mut one = via("");
        assert!(!feedback(20, 1).write(&mut one));
        offer(&mut one);
        assert_eq!(one.params.value("oc-algo"), Some("\"loss\""));
        assert!(feedback(20, 1_282_321_615_007).write(&mut one));
        assert!(
            one.to_string().ends_with(";oc=20;oc-algo=\"loss\";oc-validity=500;oc-seq=1282321615.007"),
            "{one}"
        );
        assert_eq!(Feedback::read(&one), Some(feedback(20, 1_282_321_615_007)));
        // Never over what another one has said.
        assert!(!feedback(30, 2).write(&mut one));
        let mut other = via(";oc;oc-algo=\"rate\"");
        assert!(!feedback(20, 1).write(&mut other));
        let mut both = via(";oc;oc-algo=\"rate, loss\"");
        assert!(feedback(0, 5).write(&mut both));
        assert_eq!(both.params.value("oc-validity"), Some("0"));
        for nonsense in [
            "",
            ";oc",
            ";oc=x;oc-seq=1.0",
            ";oc=101;oc-seq=1.0",
            ";oc=5",
            ";oc=5;oc-seq=1",
            ";oc=5;oc-algo=\"rate\";oc-seq=1.0",
        ] {
            assert_eq!(Feedback::read(&via(nonsense)), None, "{nonsense}");
        }
    }

    /// RFC 7339 §7.2: so many of a hundred are kept back, for as long as the feedback is valid.
    /// RFC 7339 §5.2: what is older than what is known is ignored.
    /// RFC 7339 §5.7: a loss of 0 ends it.
    #[test]
    fn the_client_keeps_back() {
        let now = Instant::now();
        let mut throttle = Throttle::default();
        let kept = |throttle: &Throttle, now| (0..1000).filter(|n| !throttle.admits(now, *n)).count();
        assert_eq!(kept(&throttle, now), 0);
        throttle.learn(now, feedback(30, 10));
        assert_eq!(kept(&throttle, now), 300);
        throttle.learn(now, feedback(90, 9));
        assert_eq!(kept(&throttle, now), 300);
        assert_eq!(kept(&throttle, now + Duration::from_millis(500)), 0);
        throttle.learn(now, feedback(100, 11));
        assert_eq!(kept(&throttle, now), 1000);
        throttle.learn(now, feedback(0, 12));
        assert_eq!(kept(&throttle, now), 0);
    }

    #[test]
    fn the_fuller_the_more() {
        assert_eq!([0.0, 0.8, 0.91, 1.0, 7.0].map(loss_of), [0, 0, 55, 100, 100]);
    }
}
