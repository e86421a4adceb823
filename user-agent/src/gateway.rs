//! A simulated telephone gateway: no registration, a policy by dialled number, a record of what came in.

use std::{net::SocketAddr, time::Duration};

use crate::{
    agent::{Agent, AgentConfig},
    call::{Call, CallOptions, IncomingCall},
    error::UaError,
    incoming::{Incoming, OptionsPolicy, ReceivedInvite},
    media::MediaOptions,
};

/// A gateway's settings.
#[derive(Debug, Clone)]
pub struct GatewayConfig {
    /// Where SIP is bound; port 0 takes a free one. Its family is the gateway's family, for media too.
    pub local: SocketAddr,
    /// The platform's trunk address: where calls of the gateway go.
    pub peer: SocketAddr,
    /// Policies by prefix of the dialled number, longest first.
    pub numbers: Vec<(String, Incoming)>,
    /// Policy for every other number.
    pub default: Incoming,
    /// Media of calls that come in.
    pub media: MediaOptions,
    /// RFC 3261 T1, the first retransmission interval: 500 ms.
    pub t1: Duration,
    /// Calls at a time; more get 503.
    pub max_calls: usize,
}

impl GatewayConfig {
    /// Settings with the usual defaults: every number is answered at once, up to 20,000 calls.
    pub fn new(local: SocketAddr, peer: SocketAddr) -> Self {
        Self {
            local,
            peer,
            numbers: Vec::new(),
            default: Incoming::Answer { after: Duration::ZERO },
            media: MediaOptions::default(),
            t1: Duration::from_millis(500),
            max_calls: 20_000,
        }
    }
}

/// A simulated gateway. Dropping the last clone stops it without a word to anybody.
#[derive(Debug, Clone)]
pub struct Gateway {
    agent: Agent,
}

impl Gateway {
    /// Binds the socket and starts the gateway's task; call it within a tokio runtime.
    ///
    /// # Errors
    /// [`UaError::Bind`].
    pub fn bind(config: GatewayConfig) -> Result<Self, UaError> {
        let agent = Agent::start(AgentConfig {
            local: config.local,
            next_hop: config.peer,
            user: "gateway".to_owned(),
            domain: String::new(),
            display_name: None,
            credentials: None,
            incoming: config.default,
            media: config.media,
            t1: config.t1,
            max_calls: config.max_calls,
            full_status: 503,
            auto_refresh: false,
            product: "Centrex6-test-gateway",
        })?;
        for (prefix, incoming) in &config.numbers {
            agent.set_incoming(prefix, *incoming);
        }
        Ok(Self { agent })
    }

    /// The SIP address that was bound.
    pub fn local_addr(&self) -> SocketAddr {
        self.agent.local_addr()
    }

    /// Calls a number (`sip:number@peer`) or a full URI through the platform; `options.caller` is the calling number.
    ///
    /// # Errors
    /// [`UaError::BadTarget`], [`UaError::TooManyCalls`], [`UaError::MediaPorts`], [`UaError::Stopped`].
    pub async fn call(&self, number: &str, options: CallOptions) -> Result<Call, UaError> {
        self.agent.call(number, options).await
    }

    /// Changes the policy for numbers with this prefix.
    pub fn set_incoming(&self, prefix: &str, incoming: Incoming) {
        self.agent.set_incoming(prefix, incoming);
    }

    /// Changes the policy for every number without a policy of its own.
    pub fn set_default_incoming(&self, incoming: Incoming) {
        self.agent.set_default_incoming(incoming);
    }

    /// Changes what happens to OPTIONS from now on.
    pub fn set_options(&self, policy: OptionsPolicy) {
        self.agent.set_options(policy);
    }

    /// The next call that came in and was handled by policy. The latest 256 wait for a reader.
    pub async fn next_call(&self) -> Call {
        self.agent.next_call().await
    }

    /// The next call that came in under [`Incoming::Ask`].
    pub async fn next_incoming(&self) -> IncomingCall {
        self.agent.next_incoming().await
    }

    /// The last INVITEs that opened a call here (up to 256), oldest first.
    pub fn received(&self) -> Vec<ReceivedInvite> {
        self.agent.received()
    }

    /// Waits until this many INVITEs are on record.
    pub async fn await_received(&self, count: usize) {
        self.agent.await_received(count).await;
    }

    /// Forgets the INVITEs on record.
    pub fn clear_received(&self) {
        self.agent.clear_received();
    }

    /// How many OPTIONS outside a dialog have come in, answered or not.
    pub fn options_received(&self) -> u64 {
        self.agent.options_received()
    }

    /// Ends every call (BYE, CANCEL or 480) and waits until nothing of them is left, at most 32 s.
    pub async fn hangup_all(&self) {
        self.agent.hangup_all().await;
    }
}
