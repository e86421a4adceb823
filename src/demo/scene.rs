//! The demo's calls, one scene each.

use std::time::{Duration, Instant};

use user_agent::{Call, CallOptions, CallPhase, DirectionReport, Incoming, MediaOptions, UaError};

use super::DemoArgs;
use super::report::{Outcome, RecordExpected};
use super::stage::{DID, Stage};

/// A call of the demo.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Scene {
    Extension,
    OtherSite,
    Outbound,
    Inbound,
    Busy,
    Cancelled,
}

/// What is dialled toward the gateway; it answers everything.
const OUTSIDE: &str = "0312345678";
/// The same in E.164 form.
const OUTSIDE_E164: &str = "+81312345678";
/// Who calls in.
const CALLER: &str = "0398765432";

impl Scene {
    pub(super) fn all() -> impl Iterator<Item = Scene> {
        [Scene::Extension, Scene::OtherSite, Scene::Outbound, Scene::Inbound, Scene::Busy, Scene::Cancelled]
            .into_iter()
    }

    pub(super) fn kind(self) -> &'static str {
        match self {
            Scene::Extension => "extension",
            Scene::OtherSite => "other_site",
            Scene::Outbound => "outbound_pstn",
            Scene::Inbound => "inbound_pstn",
            Scene::Busy => "busy",
            Scene::Cancelled => "cancelled",
        }
    }

    pub(super) fn description(self, stage: &Stage) -> String {
        match self {
            Scene::Extension => "101 dials 102 in its dorm, IPv6 to IPv6".to_owned(),
            Scene::OtherSite => format!("103 dials {} in the other dorm", stage.full_extension(1, 0)),
            Scene::Outbound => format!("104 dials {OUTSIDE}, through the translator to the IPv4 gateway"),
            Scene::Inbound => format!("the gateway calls {DID}, which rings 101"),
            Scene::Busy => "105 dials 106, who is busy".to_owned(),
            Scene::Cancelled => format!("104 dials {OUTSIDE} and gives up while it rings"),
        }
    }

    /// What must become of it.
    fn expected(self) -> &'static str {
        match self {
            Scene::Extension | Scene::OtherSite | Scene::Outbound | Scene::Inbound => "answered",
            Scene::Busy => "busy",
            Scene::Cancelled => "cancelled",
        }
    }

    /// The call record that must be there afterwards.
    fn record(self, stage: &Stage) -> RecordExpected {
        let (direction, called) = match self {
            Scene::Extension => ("internal", "102".to_owned()),
            Scene::OtherSite => ("internal", stage.full_extension(1, 0)),
            Scene::Outbound | Scene::Cancelled => ("outbound", OUTSIDE_E164.to_owned()),
            Scene::Inbound => ("inbound", DID.to_owned()),
            Scene::Busy => ("internal", "106".to_owned()),
        };
        RecordExpected { direction, called, result: self.expected() }
    }

    pub(super) async fn play(self, stage: &Stage, args: &DemoArgs) -> Outcome {
        let mut outcome = Outcome::new(self.kind(), self.expected(), self.record(stage));
        if let Err(error) = self.act(stage, args, &mut outcome).await {
            outcome.fail(format!("the call did not go as it should: {error}"));
        }
        outcome
    }

    pub(super) fn gave_up(self, stage: &Stage, patience: Duration) -> Outcome {
        let mut outcome = Outcome::new(self.kind(), self.expected(), self.record(stage));
        outcome.fail(format!("nothing more happened for {} s", patience.as_secs()));
        outcome
    }

    async fn act(self, stage: &Stage, args: &DemoArgs, outcome: &mut Outcome) -> Result<(), UaError> {
        let media = MediaOptions { packets: Some(args.packets), ..MediaOptions::default() };
        let spoiled =
            MediaOptions { corrupt_packet: args.spoil.then_some(args.packets / 2), ..media.clone() };
        let options = CallOptions { media: media.clone(), ..CallOptions::default() };
        match self {
            Scene::Extension => {
                let call = stage.phone(0, 0).call("102", options).await?;
                talk(call, async { stage.phone(0, 1).next_call().await }, args, outcome).await
            }
            Scene::OtherSite => {
                let call = stage.phone(0, 2).call(&stage.full_extension(1, 0), options).await?;
                talk(call, async { stage.phone(1, 0).next_call().await }, args, outcome).await
            }
            Scene::Outbound => {
                stage.gateway().set_default_incoming(Incoming::Answer { after: Duration::from_millis(200) });
                let options = CallOptions { media: spoiled, ..options };
                let call = stage.phone(0, 3).call(OUTSIDE, options).await?;
                talk(call, async { stage.gateway().next_call().await }, args, outcome).await
            }
            Scene::Inbound => {
                let options = CallOptions { caller: Some(CALLER.to_owned()), ..options };
                let call = stage.gateway().call(DID, options).await?;
                talk(call, async { stage.phone(0, 0).next_call().await }, args, outcome).await
            }
            Scene::Busy => {
                stage.phone(0, 5).set_incoming(Incoming::Busy);
                let call = stage.phone(0, 4).call("106", options).await?;
                match call.answered().await {
                    Err(UaError::Rejected { status: 486, .. }) => outcome.result("busy"),
                    Err(other) => return Err(other),
                    Ok(()) => outcome.result("answered"),
                }
                Ok(())
            }
            Scene::Cancelled => {
                stage.gateway().set_default_incoming(Incoming::RingForever);
                let call = stage.phone(0, 3).call(OUTSIDE, options).await?;
                call.ringing().await?;
                call.cancel().await?;
                match call.answered().await {
                    Err(UaError::Rejected { status: 487, .. }) => outcome.result("cancelled"),
                    Err(other) => return Err(other),
                    Ok(()) => outcome.result("answered"),
                }
                let other_end = stage.gateway().next_call().await;
                let _ = other_end.ended().await;
                if !matches!(other_end.phase(), CallPhase::Failed { .. }) {
                    outcome.fail("the gateway was not told that the caller gave up".to_owned());
                }
                Ok(())
            }
        }
    }
}

/// Answered, media both ways until every packet arrived (or clearly will not), then the caller hangs up.
async fn talk(
    caller: Call,
    called: impl Future<Output = Call>,
    args: &DemoArgs,
    outcome: &mut Outcome,
) -> Result<(), UaError> {
    caller.answered().await?;
    outcome.set_up(caller.set_up_time());
    let called = called.await;
    let media_time = Duration::from_millis(20) * u32::try_from(args.packets).unwrap_or(u32::MAX);
    let deadline = Instant::now() + media_time + Duration::from_secs(5);
    for side in [caller.media(), called.media()] {
        let left = deadline.saturating_duration_since(Instant::now());
        // What did not arrive by then is lost, and the report says so.
        let _ = tokio::time::timeout(left, side.await_received(args.packets)).await;
    }
    caller.hangup().await?;
    called.ended().await?;
    outcome.result("answered");
    let (from_caller, from_called) = (caller.media().report(), called.media().report());
    outcome.direction("caller_to_called", args.packets, DirectionReport::between(&from_caller, &from_called));
    outcome.direction("called_to_caller", args.packets, DirectionReport::between(&from_called, &from_caller));
    Ok(())
}
