//! What a core asks of the world, and how the answer finds its way back.

use std::fmt;
use std::time::Instant;

use sip_core::core::Token;
use tokio::sync::mpsc;

/// Answers a core's questions: store writes, media ports, names.
///
/// It lives on its worker's thread beside the core. [`ask`](World::ask) must not block: what takes time is moved to a task,
/// and [`tokio::task::spawn_local`] is there for it.
pub trait World<Q, A> {
    /// Takes one question. Its answer goes into `reply`, now or later, from this thread or another.
    fn ask(&self, token: Token, question: Q, reply: Reply<A>);
}

/// The way back for one answer.
///
/// Dropped without an answer it leaves the core waiting for the timer that it set beside its question; that is a bug of the
/// world's, and logged.
pub struct Reply<A> {
    token: Token,
    asked_at: Instant,
    /// Taken when the answer is given.
    answers: Option<mpsc::UnboundedSender<Answered<A>>>,
}

impl<A> Reply<A> {
    pub(crate) fn new(token: Token, asked_at: Instant, answers: mpsc::UnboundedSender<Answered<A>>) -> Self {
        Reply { token, asked_at, answers: Some(answers) }
    }

    /// A reply outside any worker, for tests of worlds, and where its answer will arrive.
    pub fn detached(token: Token) -> (Self, Answers<A>) {
        let (answers, receiver) = mpsc::unbounded_channel();
        (Reply::new(token, Instant::now(), answers), Answers(receiver))
    }

    /// The question that is answered.
    pub fn token(&self) -> Token {
        self.token
    }

    /// Gives the answer. It is lost without a word when the worker has stopped meanwhile.
    pub fn send(mut self, answer: A) {
        if let Some(answers) = self.answers.take() {
            let _ = answers.send(Answered { token: self.token, asked_at: self.asked_at, answer });
        }
    }
}

impl<A> Drop for Reply<A> {
    fn drop(&mut self) {
        // When the worker has stopped nobody waits any more.
        if self.answers.as_ref().is_some_and(|answers| !answers.is_closed()) {
            tracing::error!(token = self.token.0, "a question was dropped without an answer");
        }
    }
}

impl<A> fmt::Debug for Reply<A> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Reply").field(&self.token).finish()
    }
}

/// Where the answers to [`Reply::detached`] arrive.
#[derive(Debug)]
pub struct Answers<A>(mpsc::UnboundedReceiver<Answered<A>>);

impl<A> Answers<A> {
    /// The answer, or `None` when the reply was dropped without one.
    pub async fn recv(&mut self) -> Option<(Token, A)> {
        self.0.recv().await.map(|answered| (answered.token, answered.answer))
    }
}

/// An answer on its way. The channel that carries it needs no bound of its own: each of the core's questions has one
/// answer, and the core bounds its questions by its tables.
#[derive(Debug)]
pub(crate) struct Answered<A> {
    pub(crate) token: Token,
    pub(crate) asked_at: Instant,
    pub(crate) answer: A,
}
