//! One call as its user sees it: a handle; the agent's task owns the call itself.

use std::{
    sync::{Arc, Mutex, OnceLock},
    time::Duration,
};

use tokio::{
    sync::{mpsc, oneshot, watch},
    time::Instant,
};

use crate::{
    agent::Command,
    error::UaError,
    incoming::lock,
    media::{Media, MediaOptions},
    message::Message,
};

/// How a call is made.
#[derive(Debug, Clone, Default)]
pub struct CallOptions {
    /// Codecs, number of packets and faults of the media.
    pub media: MediaOptions,
    /// CANCEL when there is no answer in this time; `None` waits for as long as the other side rings.
    pub ring_timeout: Option<Duration>,
    /// INVITE without SDP: the offer comes in the 200, our answer goes in the ACK (RFC 3264 with RFC 3261 §13.2.1).
    pub delayed_offer: bool,
    /// User part of From, in place of the agent's own; what a gateway shows as the calling number.
    pub caller: Option<String>,
    /// Display name of From, in place of the agent's own.
    pub display_name: Option<String>,
    /// Further header fields of the INVITE, such as `Privacy` or `P-Preferred-Identity`.
    pub headers: Vec<(String, String)>,
}

/// What happens to a call, in order.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum CallEvent {
    /// 100 Trying came.
    Trying,
    /// 180–189 came (or was sent).
    Ringing {
        /// The status.
        status: u16,
        /// Whether SDP came with it, so that early media flows.
        early_media: bool,
    },
    /// 2xx came (or was sent).
    Answered,
    /// A final response other than 2xx; 408 if none came, 487 after CANCEL.
    Failed {
        /// The status.
        status: u16,
        /// The reason phrase.
        reason: String,
    },
    /// The other side put us on hold.
    Held,
    /// The other side resumed.
    Resumed,
    /// The call was up and is over.
    Ended {
        /// Who ended it.
        by: EndedBy,
    },
}

/// Who ended a call that was up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum EndedBy {
    /// We sent BYE.
    Local,
    /// BYE came.
    Remote,
    /// A request of ours or an expected ACK stayed without answer.
    Network,
}

/// Where a call stands.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum CallPhase {
    /// INVITE is out (or in) and nothing more than 100 came.
    Calling,
    /// It rings.
    Ringing {
        /// Whether early media flows.
        early_media: bool,
    },
    /// The call is up.
    Up,
    /// It was never answered.
    Failed {
        /// Final status; 408 if none came.
        status: u16,
        /// Reason phrase.
        reason: String,
    },
    /// It was up and is over.
    Ended {
        /// Who ended it.
        by: EndedBy,
    },
}

/// Which side opened a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CallDirection {
    /// This agent called.
    Outgoing,
    /// This agent was called.
    Incoming,
}

/// How hold is spelled in SDP.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum HoldStyle {
    /// `a=sendonly` (RFC 3264 §8.4); we go on sending, as music on hold does.
    #[default]
    SendOnly,
    /// `a=inactive`.
    Inactive,
    /// `c=` with the unspecified address, as RFC 2543 phones did.
    ZeroAddress,
}

/// A call. Dropping it does not end the call: the agent owns its calls.
#[derive(Debug)]
pub struct Call {
    pub(crate) shared: Arc<CallShared>,
    pub(crate) events: mpsc::Receiver<CallEvent>,
    pub(crate) commands: mpsc::Sender<Command>,
}

impl Call {
    /// The SIP Call-ID of our leg.
    pub fn call_id(&self) -> &str {
        &self.shared.call_id
    }

    /// The other party: the URI called, or the URI in From of the caller.
    pub fn peer(&self) -> &str {
        &self.shared.peer
    }

    /// Which side opened the call.
    pub fn direction(&self) -> CallDirection {
        self.shared.direction
    }

    /// Where the call stands now.
    pub fn phase(&self) -> CallPhase {
        self.shared.phase.borrow().clone()
    }

    /// The next event, `None` after the last. At most 32 events wait; later ones are lost to a user who does not read.
    pub async fn next_event(&mut self) -> Option<CallEvent> {
        self.events.recv().await
    }

    /// Waits until the other side rings, or more.
    ///
    /// # Errors
    /// [`UaError::Rejected`] when the call fails first, [`UaError::Stopped`].
    pub async fn ringing(&self) -> Result<(), UaError> {
        self.wait(|phase| !matches!(phase, CallPhase::Calling)).await
    }

    /// Waits for the answer.
    ///
    /// # Errors
    /// [`UaError::Rejected`] with the final status (408 if none came), [`UaError::Stopped`].
    pub async fn answered(&self) -> Result<(), UaError> {
        self.wait(|phase| !matches!(phase, CallPhase::Calling | CallPhase::Ringing { .. })).await
    }

    /// Waits for the end: who ended it, or the status with which it failed.
    ///
    /// # Errors
    /// [`UaError::Rejected`] for a call that was never answered, [`UaError::Stopped`].
    pub async fn ended(&self) -> Result<EndedBy, UaError> {
        self.wait(CallPhase::is_over).await?;
        match self.phase() {
            CallPhase::Ended { by } => Ok(by),
            _ => Err(UaError::Stopped),
        }
    }

    /// Gives up an outgoing call that is not answered yet (CANCEL, RFC 3261 §9.1). `Failed` with 487 follows.
    ///
    /// # Errors
    /// [`UaError::WrongState`] when it is answered or over, [`UaError::Stopped`].
    pub async fn cancel(&self) -> Result<(), UaError> {
        self.command(|call, reply| Command::Cancel { call, reply }).await
    }

    /// Ends the call: BYE when it is up (waits for its answer), CANCEL or 480 before.
    ///
    /// # Errors
    /// [`UaError::WrongState`] when it is over, [`UaError::Rejected`] or [`UaError::Timeout`] from the BYE.
    pub async fn hangup(&self) -> Result<(), UaError> {
        self.command(|call, reply| Command::Hangup { call, reply }).await
    }

    /// Puts the other side on hold with `a=sendonly`; waits for the answer to the re-INVITE.
    ///
    /// # Errors
    /// [`UaError::WrongState`], [`UaError::Rejected`], [`UaError::Timeout`], [`UaError::Stopped`].
    pub async fn hold(&self) -> Result<(), UaError> {
        self.hold_as(HoldStyle::SendOnly).await
    }

    /// Puts the other side on hold with this spelling.
    ///
    /// # Errors
    /// As [`Call::hold`].
    pub async fn hold_as(&self, style: HoldStyle) -> Result<(), UaError> {
        self.command(|call, reply| Command::Reinvite { call, hold: Some(style), reply }).await
    }

    /// Takes the other side back from hold.
    ///
    /// # Errors
    /// As [`Call::hold`].
    pub async fn resume(&self) -> Result<(), UaError> {
        self.command(|call, reply| Command::Reinvite { call, hold: None, reply }).await
    }

    /// From the first INVITE to the answer; `None` before. Includes the round of a digest challenge.
    pub fn set_up_time(&self) -> Option<Duration> {
        self.shared.set_up.get().copied()
    }

    /// From the first INVITE to the first 180–189; `None` before.
    pub fn post_dial_delay(&self) -> Option<Duration> {
        self.shared.rang.get().copied()
    }

    /// The call's media.
    pub fn media(&self) -> &Media {
        &self.shared.media
    }

    /// The INVITE that opened an incoming call.
    pub fn invite(&self) -> Option<&Message> {
        self.shared.invite.get()
    }

    /// The latest response to the INVITE of an outgoing call.
    pub fn response(&self) -> Option<Message> {
        lock(&self.shared.response).clone()
    }

    async fn wait(&self, until: impl Fn(&CallPhase) -> bool) -> Result<(), UaError> {
        let mut phases = self.shared.phase.subscribe();
        // The sender lives in `shared` too, so a stopped agent is noticed by its command channel.
        let phase = tokio::select! {
            phase = phases.wait_for(|phase| until(phase) || phase.is_over()) => {
                phase.map_err(|_| UaError::Stopped)?.clone()
            }
            () = self.commands.closed() => return Err(UaError::Stopped),
        };
        match phase {
            CallPhase::Failed { status, reason } => Err(UaError::Rejected { status, reason }),
            _ => Ok(()),
        }
    }

    async fn command(
        &self,
        build: impl FnOnce(u64, oneshot::Sender<Result<(), UaError>>) -> Command,
    ) -> Result<(), UaError> {
        let (reply, answer) = oneshot::channel();
        self.commands.send(build(self.shared.id, reply)).await.map_err(|_| UaError::Stopped)?;
        answer.await.map_err(|_| UaError::Stopped)?
    }
}

/// A call that asks what to do with it (policy [`Incoming::Ask`](crate::Incoming::Ask)).
#[derive(Debug)]
pub struct IncomingCall {
    pub(crate) call: Call,
}

impl IncomingCall {
    /// The INVITE.
    pub fn invite(&self) -> Option<&Message> {
        self.call.invite()
    }

    /// The caller's URI in From.
    pub fn peer(&self) -> &str {
        self.call.peer()
    }

    /// Sends 180.
    ///
    /// # Errors
    /// [`UaError::WrongState`] when the caller has given up, [`UaError::Stopped`].
    pub async fn ring(&self) -> Result<(), UaError> {
        self.call.command(|call, reply| Command::Ring { call, early_media: false, reply }).await
    }

    /// Sends 183 with SDP and starts sending RTP.
    ///
    /// # Errors
    /// As [`IncomingCall::ring`]; [`UaError::Rejected`] with 488 when no codec is common.
    pub async fn early_media(&self) -> Result<(), UaError> {
        self.call.command(|call, reply| Command::Ring { call, early_media: true, reply }).await
    }

    /// Sends 200 and gives the call.
    ///
    /// # Errors
    /// As [`IncomingCall::early_media`].
    pub async fn answer(self) -> Result<Call, UaError> {
        self.call.command(|call, reply| Command::Answer { call, reply }).await?;
        Ok(self.call)
    }

    /// Refuses the call with this status (300–699).
    ///
    /// # Errors
    /// As [`IncomingCall::ring`].
    pub async fn reject(self, status: u16) -> Result<(), UaError> {
        self.call.command(|call, reply| Command::Reject { call, status, reply }).await
    }

    /// The call as such, to watch it (for the caller's CANCEL) without answering.
    pub fn call(&self) -> &Call {
        &self.call
    }
}

/// What handle and agent share of a call.
#[derive(Debug)]
pub(crate) struct CallShared {
    pub(crate) id: u64,
    pub(crate) call_id: String,
    pub(crate) peer: String,
    pub(crate) direction: CallDirection,
    pub(crate) started: Instant,
    pub(crate) phase: watch::Sender<CallPhase>,
    pub(crate) set_up: OnceLock<Duration>,
    pub(crate) rang: OnceLock<Duration>,
    pub(crate) media: Media,
    pub(crate) invite: OnceLock<Message>,
    pub(crate) response: Mutex<Option<Message>>,
}

impl CallPhase {
    /// Whether nothing more will happen.
    pub fn is_over(&self) -> bool {
        matches!(self, Self::Failed { .. } | Self::Ended { .. })
    }
}

/// Events that wait for a reader.
pub(crate) const EVENT_QUEUE: usize = 32;
