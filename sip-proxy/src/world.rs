//! The world of the role `registrar-proxy`: the store's writer.

use node::world::{Reply, World};
use schema::Writer;
use sip_core::core::Token;

use crate::core::{Answer, Question};

/// Answers the core's questions from the store.
#[derive(Clone)]
pub struct StoreWorld {
    writer: Writer,
}

impl StoreWorld {
    /// A world that saves through `writer`.
    pub fn new(writer: Writer) -> StoreWorld {
        StoreWorld { writer }
    }
}

impl World<Question, Answer> for StoreWorld {
    fn ask(&self, _token: Token, question: Question, reply: Reply<Answer>) {
        let Question::Save(changes) = question;
        let writer = self.writer.clone();
        // The worker's own thread drives it; a save waits for its group's commit.
        tokio::task::spawn_local(async move { reply.send(Answer::Saved(writer.save(changes).await)) });
    }
}
