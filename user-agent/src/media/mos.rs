//! A mean opinion score by the E-model.
//!
//! R = R0 − Id − Ie,eff with the default R0 − Is = 93.2 of ITU-T G.107; Ie,eff = Ie + (95 − Ie) · Ppl / (Ppl + Bpl) (its packet-loss term for
//! random loss) with Ie = 0 and Bpl = 4.3 for G.711 without loss concealment (ITU-T G.113 Appendix I); Id by the usual
//! two-piece fit of G.107's delay curve, 0.024 d + 0.11 (d − 177.3) above 177.3 ms. MOS from R is G.107 Annex B.

/// MOS for this loss (0–1), one-way delay and jitter (ms), between 1.0 and 4.5.
pub(super) fn mos(loss: f64, delay_ms: f64, jitter_ms: f64) -> f64 {
    let loss_percent = (loss * 100.0).clamp(0.0, 100.0);
    // Mouth to ear: the network, one packet's worth of speech, and a jitter buffer of twice the jitter.
    let mouth_to_ear = delay_ms.max(0.0) + 20.0 + 2.0 * jitter_ms.max(0.0);
    let delay_impairment = 0.024 * mouth_to_ear + 0.11 * (mouth_to_ear - 177.3).max(0.0);
    let loss_impairment = 95.0 * loss_percent / (loss_percent + 4.3);
    let r = 93.2 - delay_impairment - loss_impairment;
    if r <= 0.0 {
        return 1.0;
    }
    let r = r.min(100.0);
    (1.0 + 0.035 * r + r * (r - 60.0) * (100.0 - r) * 7.0e-6).clamp(1.0, 4.5)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clean_speech_is_good_and_loss_and_delay_make_it_worse() {
        let clean = mos(0.0, 1.0, 0.1);
        assert!((4.35..=4.45).contains(&clean), "{clean}");
        assert!(mos(0.01, 1.0, 0.1) < clean);
        assert!(mos(0.0, 300.0, 0.1) < clean);
        assert!(mos(0.05, 1.0, 0.1) < mos(0.01, 1.0, 0.1));
        assert_eq!(mos(1.0, 2000.0, 0.1), 1.0);
    }
}
