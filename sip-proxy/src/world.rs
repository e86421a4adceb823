//! The world of the role `registrar-proxy`: the store's writer.

use node::dns::Resolver;
use node::world::{Reply, World};
use schema::Writer;
use sip_core::core::Token;
use sip_core::flow::Transport;

use crate::core::{Answer, Question};

/// Answers the core's questions from the store.
#[derive(Clone)]
pub struct StoreWorld {
    writer: Writer,
    resolver: Resolver,
}

impl StoreWorld {
    /// A world that saves through `writer`, and looks names up by `resolver`.
    pub fn new(writer: Writer, resolver: Resolver) -> StoreWorld {
        StoreWorld { writer, resolver }
    }
}

impl World<Question, Answer> for StoreWorld {
    fn ask(&self, _token: Token, question: Question, reply: Reply<Answer>) {
        // The worker's own thread drives it; a save waits for its group's commit.
        match question {
            Question::Save(changes) => {
                let writer = self.writer.clone();
                tokio::task::spawn_local(async move {
                    reply.send(Answer::Saved(writer.save(changes).await));
                });
            }
            Question::Locate(wanted) => {
                let resolver = self.resolver.clone();
                tokio::task::spawn_local(async move {
                    reply.send(Answer::Located(resolver.locate(wanted, &USABLE).await));
                });
            }
        }
    }
}

/// How next hops that are known by name are spoken to. Not by TLS: whom their certificate should name is not known to the connection.
const USABLE: [Transport; 2] = [Transport::Udp, Transport::Tcp];

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use node::config::Dns;
    use schema::{Change, Directory, Mirror, Site, WriterSettings};

    use super::*;

    #[tokio::test(flavor = "local")]
    async fn a_save_is_answered_after_it_is_done() {
        let folder = tempfile::tempdir().unwrap();
        let store = schema::open(folder.path().join("c6.db").to_str().unwrap()).await.unwrap();
        let directory = Arc::new(Directory::default());
        let mirror = Mirror::new(Arc::clone(&directory));
        let writer = Writer::spawn(Arc::clone(&store), mirror, "node1", WriterSettings::default());
        let world = StoreWorld::new(writer.clone(), Resolver::new(Dns::default()));
        let (reply, mut answers) = Reply::detached(Token(7));
        let site = Site::new("Sakura", "42", "s42.example.net").unwrap();
        world.ask(Token(7), Question::Save(vec![Change::PutSite(site)]), reply);
        let Some((Token(7), Answer::Saved(Ok(())))) = answers.recv().await else { panic!("not saved") };
        assert!(directory.site_by_code("42").is_some());
        writer.close().await;
        store.close().await;
    }
}
