//! A simulated phone: registers, calls, is called.

use std::{fmt, net::SocketAddr, time::Duration};

use tokio::sync::oneshot;

use crate::{
    agent::{Agent, AgentConfig, Command},
    call::{Call, CallOptions, IncomingCall},
    digest::Credentials,
    error::UaError,
    incoming::{Incoming, OptionsPolicy, ReceivedInvite},
    media::MediaOptions,
};

/// A phone's settings.
#[derive(Clone)]
pub struct PhoneConfig {
    /// Where SIP is bound; port 0 takes a free one. Its family is the phone's family, for media too.
    pub local: SocketAddr,
    /// Outbound proxy: where requests outside a dialog go.
    pub proxy: SocketAddr,
    /// Extension, the user part of the address-of-record.
    pub user: String,
    /// Domain of the address-of-record.
    pub domain: String,
    /// Digest user name.
    pub auth_user: String,
    /// Digest password.
    pub password: String,
    /// Display name in From.
    pub display_name: Option<String>,
    /// Registration time asked for, in seconds.
    pub expires: u32,
    /// Whether to register again by itself before the registration ends.
    pub auto_refresh: bool,
    /// What to do with calls that come in.
    pub incoming: Incoming,
    /// Media of calls that come in.
    pub media: MediaOptions,
    /// RFC 3261 T1, the first retransmission interval: 500 ms.
    pub t1: Duration,
    /// Calls at a time; more get 486.
    pub max_calls: usize,
}

impl PhoneConfig {
    /// Settings with the usual defaults: the digest user is the extension, 3600 s, calls are answered at once.
    pub fn new(local: SocketAddr, proxy: SocketAddr, user: &str, domain: &str, password: &str) -> Self {
        Self {
            local,
            proxy,
            user: user.to_owned(),
            domain: domain.to_owned(),
            auth_user: user.to_owned(),
            password: password.to_owned(),
            display_name: None,
            expires: 3600,
            auto_refresh: false,
            incoming: Incoming::Answer { after: Duration::ZERO },
            media: MediaOptions::default(),
            t1: Duration::from_millis(500),
            max_calls: 16,
        }
    }
}

impl fmt::Debug for PhoneConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PhoneConfig")
            .field("local", &self.local)
            .field("proxy", &self.proxy)
            .field("user", &self.user)
            .field("domain", &self.domain)
            .field("auth_user", &self.auth_user)
            .finish_non_exhaustive()
    }
}

/// A registration that was granted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Registered {
    /// How long it lasts, in seconds, as the registrar said for our contact; 0 after [`Phone::unregister`].
    pub expires: u32,
    /// The final status, 2xx.
    pub status: u16,
}

/// A simulated phone: one task and one UDP socket. Dropping the last clone stops it without a word to anybody.
#[derive(Debug, Clone)]
pub struct Phone {
    agent: Agent,
    user: String,
    domain: String,
    expires: u32,
}

impl Phone {
    /// Binds the socket and starts the phone's task; call it within a tokio runtime.
    ///
    /// # Errors
    /// [`UaError::Bind`].
    pub fn bind(config: PhoneConfig) -> Result<Self, UaError> {
        let (user, domain, expires) = (config.user.clone(), config.domain.clone(), config.expires);
        let agent = Agent::start(AgentConfig {
            local: config.local,
            next_hop: config.proxy,
            user: config.user,
            domain: config.domain,
            display_name: config.display_name,
            credentials: Some(Credentials { user: config.auth_user, password: config.password }),
            incoming: config.incoming,
            media: config.media,
            t1: config.t1,
            max_calls: config.max_calls,
            full_status: 486,
            auto_refresh: config.auto_refresh,
            product: "Centrex6-test-phone",
        })?;
        Ok(Self { agent, user, domain, expires })
    }

    /// The SIP address that was bound.
    pub fn local_addr(&self) -> SocketAddr {
        self.agent.local_addr()
    }

    /// The extension.
    pub fn user(&self) -> &str {
        &self.user
    }

    /// The address-of-record, `sip:101@s042.example.net`.
    pub fn aor(&self) -> String {
        format!("sip:{}@{}", self.user, self.domain)
    }

    /// Registers; answers a digest challenge and one 423.
    ///
    /// # Errors
    /// [`UaError::Rejected`] with the final status, [`UaError::Timeout`], [`UaError::Stopped`].
    pub async fn register(&self) -> Result<Registered, UaError> {
        self.register_for(self.expires).await
    }

    /// Registers for this time in seconds.
    ///
    /// # Errors
    /// As [`Phone::register`].
    pub async fn register_for(&self, expires: u32) -> Result<Registered, UaError> {
        let (reply, answer) = oneshot::channel();
        self.agent.send(Command::Register { expires, reply }).await?;
        answer.await.map_err(|_| UaError::Stopped)?
    }

    /// Removes this phone's binding (`Expires: 0`).
    ///
    /// # Errors
    /// As [`Phone::register`].
    pub async fn unregister(&self) -> Result<Registered, UaError> {
        self.register_for(0).await
    }

    /// Calls an extension, a number (both at the phone's own domain) or a full `sip:` or `tel:` URI.
    /// Returns as soon as the INVITE is out.
    ///
    /// # Errors
    /// [`UaError::BadTarget`], [`UaError::TooManyCalls`], [`UaError::MediaPorts`], [`UaError::Stopped`].
    pub async fn call(&self, target: &str, options: CallOptions) -> Result<Call, UaError> {
        self.agent.call(target, options).await
    }

    /// Changes what happens to calls from now on.
    pub fn set_incoming(&self, incoming: Incoming) {
        self.agent.set_default_incoming(incoming);
    }

    /// Changes what happens to OPTIONS from now on.
    pub fn set_options(&self, policy: OptionsPolicy) {
        self.agent.set_options(policy);
    }

    /// The next call that came in and was handled by policy (any policy that made it ring or answered it). The latest 256
    /// wait for a reader.
    pub async fn next_call(&self) -> Call {
        self.agent.next_call().await
    }

    /// The next call that came in under [`Incoming::Ask`].
    pub async fn next_incoming(&self) -> IncomingCall {
        self.agent.next_incoming().await
    }

    /// The last INVITEs received, oldest first.
    pub fn received(&self) -> Vec<ReceivedInvite> {
        self.agent.received()
    }

    /// Ends every call (BYE, CANCEL or 480) and waits until nothing of them is left, at most 32 s.
    pub async fn hangup_all(&self) {
        self.agent.hangup_all().await;
    }
}
