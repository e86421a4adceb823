//! A listening quality estimate by the E-model (ITU-T G.107), reduced to what a relay can know: codec, loss and delay.

/// What a codec costs in quality (ITU-T G.113 Appendix I).
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Impairment {
    /// Equipment impairment factor Ie: what the coding itself costs.
    pub equipment: f64,
    /// Packet-loss robustness factor Bpl: the higher, the better loss is hidden.
    pub robustness: f64,
}

impl Impairment {
    /// G.711 with packet loss concealment. Also stands for wideband codecs, which the narrowband scale cannot rate, and
    /// for any that we do not know.
    pub const G711: Impairment = Impairment { equipment: 0.0, robustness: 25.1 };

    /// The factors of a codec by its encoding name.
    pub fn of_codec(name: &str) -> Self {
        KNOWN
            .iter()
            .find(|(known, ..)| name.eq_ignore_ascii_case(known))
            .map_or(Self::G711, |&(_, equipment, robustness)| Impairment { equipment, robustness })
    }
}

/// The mean opinion score, 1.0 to 4.5, for random loss (percent of the packets expected) and a one-way delay from mouth
/// to ear (ms).
///
/// R = 93.2 − Id − Ie,eff with the defaults of G.107 for all that a relay cannot see; Ie,eff by G.107 §7.5 for random
/// loss; Id by the usual approximation for a call without echo (Cole and Rosenbluth, 2001); R to MOS by G.107 Annex B.
pub fn mos(codec: Impairment, loss_percent: f64, delay_ms: f64) -> f64 {
    let loss = if loss_percent.is_finite() { loss_percent.clamp(0.0, 100.0) } else { 0.0 };
    let delay = if delay_ms.is_finite() { delay_ms.max(0.0) } else { 0.0 };
    let equipment = codec.equipment + (95.0 - codec.equipment) * loss / (loss + codec.robustness);
    let delayed = 0.024 * delay + 0.11 * (delay - 177.3).max(0.0);
    let r = 93.2 - delayed - equipment;
    if r <= 0.0 {
        return 1.0;
    }
    // Annex B dips below 1 for small R.
    (1.0 + 0.035 * r + r * (r - 60.0) * (100.0 - r) * 7e-6).clamp(1.0, 4.5)
}

/// Encoding name, Ie, Bpl. GSM full rate has no Bpl in G.113; it is taken as hiding loss like GSM-EFR.
const KNOWN: [(&str, f64, f64); 6] = [
    ("G729", 11.0, 19.0),
    ("G729A", 11.0, 19.0),
    ("G723", 15.0, 16.1),
    ("GSM", 20.0, 10.0),
    ("GSM-EFR", 5.0, 10.0),
    ("AMR", 5.0, 10.0),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_points() {
        let close =
            |value: f64, wanted: f64| assert!((value - wanted).abs() < 0.02, "{value} is not {wanted}");
        close(mos(Impairment::G711, 0.0, 0.0), 4.41);
        close(mos(Impairment::of_codec("g729"), 0.0, 0.0), 4.10);
        close(mos(Impairment::G711, 0.0, 150.0), 4.33);
        assert!(mos(Impairment::G711, 0.0, 400.0) < 3.7);
        assert!(mos(Impairment::G711, 5.0, 50.0) < 4.1);
        close(mos(Impairment::G711, 100.0, 2_000.0), 1.0);
    }

    #[test]
    fn more_trouble_never_sounds_better() {
        for codec in ["PCMU", "G729", "GSM", "opus"].map(Impairment::of_codec) {
            let mut last = f64::MAX;
            for step in 0..=100 {
                let score = mos(codec, f64::from(step), f64::from(step) * 10.0);
                assert!((1.0..=4.5).contains(&score) && score <= last + 1e-9);
                last = score;
            }
        }
        assert!(mos(Impairment::G711, f64::NAN, f64::INFINITY) >= 1.0);
    }
}
