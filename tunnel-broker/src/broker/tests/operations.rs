//! Random sequences of operations, and what holds after each.

use std::collections::BTreeSet;

use proptest::prelude::*;

use super::*;

#[derive(Debug, Clone)]
enum Operation {
    Connect(u8),
    Login { connection: usize, site: u16, right: bool, kind: usize },
    Say { connection: usize, text: usize },
    Close(usize),
    Answer(usize),
    Pass(u64),
    Fail(u32, usize),
    Restart(u32, bool),
    Down(u32),
    Revoke(u16),
}

const KINDS: [&str; 5] = ["network", "network", "host", "tunnelonly", "l2tp"];
const TEXTS: [&str; 8] = [
    "report neighbours=9\ncentre\n",
    "ping\n",
    "quit\r\n",
    "tunnel\n",
    "x",
    "\n",
    "help\nping\n",
    "tunnel a b c d\n",
];
const FAILURES: [Option<TunnelFailure>; 5] =
    [None, None, Some(TunnelFailure::Full), Some(TunnelFailure::Clash), Some(TunnelFailure::Unknown)];

fn operation() -> impl Strategy<Value = Operation> {
    prop_oneof![
        3 => (0u8..4).prop_map(Operation::Connect),
        6 => (0usize..12, 1u16..5, prop::bool::weighted(0.9), 0..KINDS.len())
            .prop_map(|(connection, site, right, kind)| Operation::Login { connection, site, right, kind }),
        2 => (0usize..12, 0..TEXTS.len()).prop_map(|(connection, text)| Operation::Say { connection, text }),
        2 => (0usize..12).prop_map(Operation::Close),
        9 => (0usize..6).prop_map(Operation::Answer),
        2 => prop_oneof![Just(1u64), Just(4), Just(11), Just(61), Just(301)].prop_map(Operation::Pass),
        1 => (1u32..3, 0..FAILURES.len()).prop_map(|(server, failure)| Operation::Fail(server, failure)),
        1 => (1u32..3, any::<bool>()).prop_map(|(server, forgets)| Operation::Restart(server, forgets)),
        1 => (1u32..3).prop_map(Operation::Down),
        1 => (1u16..5).prop_map(Operation::Revoke),
    ]
}

impl World {
    fn nth(&self, connection: usize) -> Option<ConnectionId> {
        self.open.get(connection).copied()
    }

    fn server_of(question: &Question) -> Option<ServerId> {
        match question {
            Question::LookUp { .. } => None,
            Question::Add { server, .. }
            | Question::Move { server, .. }
            | Question::Remove { server, .. } => Some(*server),
        }
    }

    /// A server takes its orders one after the other, in the order in which they were given.
    fn answer_in_order(&mut self, index: usize) {
        let Some((_, question)) = self.asked.get(index) else { return };
        let server = World::server_of(question);
        let first = match server {
            Some(_) => self.asked.iter().position(|(_, question)| World::server_of(question) == server),
            None => Some(index),
        };
        self.answer_one(first.unwrap());
    }

    /// A server's restart: everything that was on its way has failed before it is said to be back.
    fn restart(&mut self, id: u32, forgets: bool) {
        let server = ServerId(id);
        let mute = self.servers[&server].mute;
        self.servers.get_mut(&server).unwrap().mute = Some(mute.unwrap_or(false));
        while let Some(index) =
            self.asked.iter().position(|(_, asked)| World::server_of(asked) == Some(server))
        {
            self.answer_one(index);
        }
        if forgets {
            self.servers.get_mut(&server).unwrap().held.clear();
        }
        self.start_server(id, if id == 1 { "east" } else { "west" }, 2);
    }

    fn run(&mut self, operation: Operation) {
        match operation {
            Operation::Connect(host) => {
                self.connect([198, 51, 100, host]);
            }
            Operation::Login { connection, site, right, kind } => {
                let Some(connection) = self.nth(connection) else { return };
                let password = if right { format!("secret{site}") } else { "wrong".to_owned() };
                let line = self.login_line(connection, &format!("s{site}"), &password, KINDS[kind]);
                self.say(connection, &format!("{line}\n"));
            }
            Operation::Say { connection, text } => {
                if let Some(connection) = self.nth(connection) {
                    self.say(connection, TEXTS[text]);
                }
            }
            Operation::Close(connection) => {
                if let Some(connection) = self.nth(connection) {
                    self.open.retain(|&open| open != connection);
                    self.input(Input::Closed(connection));
                }
            }
            Operation::Answer(index) => self.answer_in_order(index),
            Operation::Pass(time) => self.pass(seconds(time)),
            Operation::Fail(server, failure) => {
                self.servers.get_mut(&ServerId(server)).unwrap().failure = FAILURES[failure];
            }
            Operation::Restart(server, forgets) => self.restart(server, forgets),
            Operation::Revoke(site) => self.input(Input::Revoked(format!("s{site}").as_str().into())),
            Operation::Down(server) => {
                self.servers.get_mut(&ServerId(server)).unwrap().mute = Some(server == 1);
                self.input(Input::ServerDown(ServerId(server)));
            }
        }
    }

    /// The accounts of the tunnels on the servers that are up, but for those that were told to go.
    fn standing(&self) -> Vec<String> {
        let told = |tunnel: TunnelId| {
            let remove = |question: &Question| matches!(question, Question::Remove { tunnel: told, .. } if *told == tunnel);
            self.asked.iter().any(|(_, question)| remove(question))
        };
        let up = self.servers.values().filter(|model| model.mute.is_none());
        let held = up.flat_map(|model| model.held.values()).filter(|held| !told(held.tunnel));
        held.map(|held| held.account.to_string()).collect()
    }

    /// Answers everything, brings every server back, and answers what follows.
    fn settle(&mut self) {
        for id in 1..=2 {
            self.servers.get_mut(&ServerId(id)).unwrap().failure = None;
            self.restart(id, false);
        }
        while !self.asked.is_empty() {
            self.answer_in_order(0);
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn whatever_happens_the_promises_hold(operations in prop::collection::vec(operation(), 1..120)) {
        let settings = Settings { max_connections_per_source: 4, max_connections: 10, ..Settings::default() };
        let mut world = World::new(settings);
        world.start_server(1, "east", 2);
        world.start_server(2, "west", 2);
        world.prompt = false;
        for operation in operations {
            // The broker checks itself after every input (`World::drain`).
            world.run(operation);
            prop_assert!(world.broker.active() <= 10);
            let standing = world.standing();
            let accounts: BTreeSet<_> = standing.iter().collect();
            prop_assert_eq!(accounts.len(), standing.len(), "an account has two tunnels: {:?}", &standing);
        }
        world.settle();

        let mut tunnels: Vec<_> =
            world.tunnels().into_iter().map(|(_, account, client)| (account, client)).collect();
        tunnels.sort();
        prop_assert_eq!(tunnels, world.broker.leases(), "each lease has its tunnel, and each tunnel its lease");

        for connection in std::mem::take(&mut world.open) {
            world.input(Input::Closed(connection));
        }
        world.settle();
        world.pass(seconds(400));
        world.settle();
        prop_assert_eq!(world.tunnels(), vec![], "a tunnel outlives its session");
        prop_assert_eq!(world.broker.sizes(), [0; 6]);
        prop_assert!(world.timers.is_empty(), "{:?}", &world.timers);
    }
}
