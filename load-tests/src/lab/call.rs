//! Calls between two stations of the lab, and what came of their audio in both directions.

use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use user_agent::{Call, CallOptions, CallPhase, DirectionReport, MediaOptions, MediaReport};

use super::error::LabError;
use super::phone::Station;

/// A call that is up: both its ends.
#[derive(Debug)]
pub struct LabCall {
    from: String,
    to: String,
    caller: Call,
    callee: Arc<Call>,
}

/// What came of a call.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct CallReport {
    /// Who called.
    pub from: String,
    /// Whom.
    pub to: String,
    /// RTP from the caller to the callee.
    pub there: DirectionReport,
    /// RTP from the callee to the caller.
    pub back: DirectionReport,
    /// The longest time without a packet at the callee, then at the caller, in ms.
    pub longest_gaps_ms: [f64; 2],
}

/// Runs a future of the stations to its end; fails when that takes too long.
///
/// # Errors
/// [`LabError::Late`].
pub fn wait<T>(what: &str, limit: Duration, future: impl Future<Output = T>) -> Result<T, LabError> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build();
    let runtime = runtime.map_err(LabError::io("start a runtime"))?;
    runtime
        .block_on(async { tokio::time::timeout(limit, future).await })
        .map_err(|_| LabError::Late { what: what.to_owned(), seconds: limit.as_secs() })
}

impl LabCall {
    /// Calls `dialled` from one station, and waits until it is answered and audio flows both ways.
    ///
    /// # Errors
    /// When one of these does not happen.
    pub fn set_up(from: &Station, to: &Station, dialled: &str) -> Result<LabCall, LabError> {
        LabCall::with_media(from, to, dialled, MediaOptions::default())
    }

    /// The same, with the caller's media so.
    ///
    /// # Errors
    /// As [`LabCall::set_up`].
    pub fn with_media(
        from: &Station,
        to: &Station,
        dialled: &str,
        media: MediaOptions,
    ) -> Result<LabCall, LabError> {
        let (from_label, to_label) = (from.label().to_owned(), to.label().to_owned());
        let failed = |what: String| LabError::Call { from: from_label.clone(), to: to_label.clone(), what };
        let options = CallOptions { media, ..CallOptions::default() };
        let caller = wait("the INVITE goes out", PATIENCE, from.call(dialled, options))?
            .map_err(|error| failed(error.to_string()))?;
        let answered = wait("the call is answered", PATIENCE, caller.answered());
        answered.map_err(|error| failed(error.to_string()))?.map_err(|error| failed(error.to_string()))?;
        let heard = wait("audio", PATIENCE, caller.media().await_received(1));
        heard.map_err(|_| failed("the caller hears nothing".to_owned()))?;
        // Whoever heard our stream is our callee; a Call-ID would not do, because the translator makes a new one.
        let ours = caller.media().stream();
        let find = || to.taken().into_iter().rev().find(|call| call.media().report().heard.contains(&ours));
        let callee = super::program::await_that(PATIENCE, find);
        let callee = callee.ok_or_else(|| failed("the callee hears nothing".to_owned()))?;
        Ok(LabCall { from: from_label, to: to_label, caller, callee })
    }

    /// Waits until both sides have received so many further packets.
    ///
    /// # Errors
    /// When they do not come: says who hears nothing.
    pub fn await_audio(&self, packets: u64, limit: Duration) -> Result<(), LabError> {
        let sides = [(&*self.callee, "callee"), (&self.caller, "caller")];
        let wanted = sides.map(|(call, hears)| (call, hears, call.media().report().received + packets));
        for (call, hears, wanted) in wanted {
            wait("audio", limit, call.media().await_received(wanted)).map_err(|_| {
                let received = call.media().report().received;
                let phases = [self.caller.phase(), self.callee.phase()];
                self.failed(format!(
                    "the {hears} has {received} packets and waits for {wanted}; the call is {phases:?}"
                ))
            })?;
        }
        Ok(())
    }

    /// Whether both sides have it up.
    pub fn is_up(&self) -> bool {
        self.caller.phase() == CallPhase::Up && self.callee.phase() == CallPhase::Up
    }

    /// What caller and callee counted so far.
    pub fn media(&self) -> [MediaReport; 2] {
        [self.caller.media().report(), self.callee.media().report()]
    }

    /// Lets both sides fall silent, so that what is under way arrives; then hangs up, and gives what came of it.
    ///
    /// # Errors
    /// When hanging up fails.
    pub fn hang_up(self) -> Result<CallReport, LabError> {
        for call in [&self.caller, &*self.callee] {
            call.media().stop_sending();
        }
        for (call, other) in [(&self.caller, &*self.callee), (&*self.callee, &self.caller)] {
            // What is lost never arrives: the report will say so.
            let sent = call.media().report().sent;
            let _ = wait("the last packets", LAST_PACKETS, other.media().await_received(sent));
        }
        let hung_up = wait("the call is hung up", PATIENCE, self.caller.hangup())?;
        hung_up.map_err(|error| self.failed(error.to_string()))?;
        let ended = wait("the callee is told", PATIENCE, self.callee.ended())?;
        ended.map_err(|error| self.failed(error.to_string()))?;
        let [caller, callee] = self.media();
        Ok(CallReport {
            there: DirectionReport::between(&caller, &callee),
            back: DirectionReport::between(&callee, &caller),
            longest_gaps_ms: [callee.longest_gap_ms, caller.longest_gap_ms],
            from: self.from,
            to: self.to,
        })
    }

    fn failed(&self, what: String) -> LabError {
        LabError::Call { from: self.from.clone(), to: self.to.clone(), what }
    }
}

impl CallReport {
    /// Whether every packet arrived unchanged, both ways.
    pub fn is_intact(&self) -> bool {
        self.there.is_intact() && self.back.is_intact()
    }
}

/// Far more than a call takes.
const PATIENCE: Duration = Duration::from_secs(20);
const LAST_PACKETS: Duration = Duration::from_millis(500);
