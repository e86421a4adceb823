//! One test a rule of the protocol, and of what a carrier needs on top.

use super::*;
use crate::dtcp::{Centre, Report};

const FAILED: &str = "-ERR authentication failed.";

fn world() -> World {
    World::new(Settings::default())
}

#[test]
fn the_greeting_has_a_challenge_that_is_never_the_same() {
    let mut world = world();
    let mut seen = std::collections::HashSet::new();
    for host in 0..50 {
        let connection = world.connect([198, 51, 100, host]);
        let greeting = world.heard(connection);
        let challenge = greeting.strip_prefix("+OK ").unwrap().split(' ').next().unwrap().to_owned();
        assert_eq!(challenge.len(), 32);
        assert!(challenge.bytes().all(|byte| byte.is_ascii_digit() || (b'A'..=b'F').contains(&byte)));
        assert!(seen.insert(challenge));
    }
}

#[test]
fn each_type_gets_its_reply() {
    let mut world = world();
    for (host, kind, reply) in [
        (1, "tunnelonly", "+OK 198.51.100.1 192.0.2.1"),
        (2, "host", "+OK 198.51.100.2 192.0.2.1 2001:db8:ffff::1:2 2001:db8:ffff::1"),
        (3, "network", "+OK 198.51.100.3 192.0.2.1 2001:0db8:0001::/48"),
        (4, "tunnelroute", "+OK 198.51.100.4 192.0.2.1 2001:0db8:0001::/48"),
    ] {
        let connection = world.connect([198, 51, 100, host]);
        assert_eq!(world.login(connection, 1, kind), reply);
        assert_eq!(world.tunnels(), [(1, "s1".into(), Ipv4Addr::new(198, 51, 100, host))]);
    }
}

#[test]
fn a_lower_case_hash_and_a_bare_lf_do_as_well() {
    let mut world = world();
    let connection = world.connect(A);
    let line = world.login_line(connection, "s1", "secret1", "network").replace("tunnel ", "TUNNEL ");
    let (verb, rest) = line.split_at(7);
    world.heard(connection);
    for piece in [verb, &rest.to_lowercase(), "\n"] {
        world.say(connection, piece);
    }
    assert_eq!(world.heard(connection), "+OK 198.51.100.1 192.0.2.1 2001:0db8:0001::/48\r\n");
}

#[test]
fn ping_help_quit_and_nonsense() {
    let mut world = world();
    let connection = world.connect(A);
    assert_eq!(world.tell_line(connection, "ping"), "+OK pong");
    assert_eq!(world.tell_line(connection, "HELP"), "+OK valid commands are: TUNNEL PING QUIT");
    assert_eq!(world.tell_line(connection, "frobnicate"), "-ERR invalid command");
    assert_eq!(world.tell_line(connection, ""), "-ERR invalid command");
    world.login(connection, 1, "network");
    assert_eq!(world.tell_line(connection, "Ping"), "+OK pong");
    assert_eq!(world.tell_line(connection, "quit"), "+OK bye");
    assert!(!world.is_open(connection));
    assert!(world.tunnels().is_empty());
}

#[test]
fn a_wrong_user_password_or_number_of_words_look_the_same() {
    let mut world = world();
    for what in ["user", "password", "words", "hash"] {
        let connection = world.connect(A);
        let line = match what {
            "user" => world.login_line(connection, "nobody", "secret1", "network"),
            "password" => world.login_line(connection, "s1", "secret2", "network"),
            "hash" => "tunnel s1 1234 network".to_owned(),
            _ => "tunnel s1".to_owned(),
        };
        assert_eq!(world.tell_line(connection, &line), FAILED, "{what}");
        assert_eq!(
            world.login(connection, 1, "network").split(' ').next(),
            Some("+OK"),
            "{what}: may try again"
        );
        world.input(Input::Closed(connection));
    }
    assert!(world.tunnels().is_empty());
}

#[test]
fn the_third_failure_closes_after_a_delay() {
    let mut world = world();
    let connection = world.connect(A);
    for _ in 0..3 {
        assert_eq!(world.tell_line(connection, "tunnel"), FAILED);
    }
    assert_eq!(world.login(connection, 1, "network"), "", "nothing is heard any more");
    world.pass(Duration::from_millis(2_999));
    assert!(world.is_open(connection));
    world.pass(Duration::from_millis(1));
    assert!(!world.is_open(connection));
    assert_eq!(world.broker.sizes(), [0; 6]);
}

#[test]
fn who_fails_and_leaves_keeps_his_place_for_the_delay() {
    let mut world = World::new(Settings { max_connections_per_source: 1, ..Settings::default() });
    let connection = world.connect(A);
    world.tell_line(connection, "tunnel");
    world.input(Input::Closed(connection));
    let next = world.connect(A);
    assert!(!world.is_open(next));
    world.pass(seconds(3));
    let next = world.connect(A);
    assert!(world.is_open(next));
}

#[test]
fn one_success_a_connection() {
    let mut world = world();
    let connection = world.connect(A);
    world.login(connection, 1, "network");
    let tunnels = world.tunnels();
    let again = world.login(connection, 3, "network");
    assert_eq!(again, "-ERR internal error: this session has its tunnel already");
    assert_eq!(world.tunnels(), tunnels);
    assert!(world.is_open(connection));
}

#[test]
fn an_unsupported_type_is_named_and_leaves_nothing() {
    let mut world = world();
    let connection = world.connect(A);
    assert_eq!(world.login(connection, 1, "l2tp"), "-ERR unsupported tunnel type l2tp");
    assert!(!world.is_open(connection), "the challenge is used up");
    let account = Account { link: None, ..(*world.accounts["s1"]).clone() };
    world.accounts.insert("s1".into(), Arc::new(account));
    let connection = world.connect(A);
    assert_eq!(world.login(connection, 1, "host"), "-ERR unsupported tunnel type host");
    assert_eq!(world.broker.sizes(), [0; 6]);
    let connection = world.connect(A);
    let line = world.login_line(connection, "s1", "wrong", "l2tp");
    assert_eq!(world.tell_line(connection, &line), FAILED, "types are told to who is known only");
}

#[test]
fn sixty_seconds_of_silence_before_the_login() {
    let mut world = world();
    let connection = world.connect(A);
    world.pass(seconds(59));
    world.tell_line(connection, "ping");
    world.pass(Duration::from_millis(59_999));
    assert!(world.is_open(connection));
    world.pass(Duration::from_millis(1));
    assert_eq!(world.heard(connection), "-ERR connection timed out, disconnecting\r\n");
    assert!(!world.is_open(connection));
}

#[test]
fn half_a_line_is_silence() {
    let mut world = world();
    let connection = world.connect(A);
    for _ in 0..6 {
        world.say(connection, "x");
        world.pass(seconds(10));
    }
    assert!(!world.is_open(connection));
}

#[test]
fn three_hundred_seconds_of_silence_after_the_login_take_the_tunnel_down() {
    let mut world = world();
    let connection = world.connect(A);
    world.login(connection, 1, "network");
    for _ in 0..10 {
        world.pass(seconds(60));
        assert_eq!(world.tell_line(connection, "ping"), "+OK pong");
    }
    world.pass(Duration::from_millis(299_999));
    assert_eq!(world.tunnels().len(), 1);
    world.pass(Duration::from_millis(1));
    assert_eq!(world.heard(connection), "-ERR connection timed out, disconnecting\r\n");
    assert!(world.tunnels().is_empty());
    assert_eq!(world.broker.sizes(), [0; 6]);
}

#[test]
fn the_end_of_the_connection_takes_the_tunnel_down() {
    let mut world = world();
    let connection = world.connect(A);
    world.login(connection, 1, "network");
    world.input(Input::Closed(connection));
    assert!(world.tunnels().is_empty());
    assert_eq!(world.broker.sizes(), [0; 6]);
    assert!(world.timers.is_empty());
}

#[test]
fn the_newest_session_wins_and_the_tunnel_has_moved_before_it_hears_so() {
    let mut world = world();
    let old = world.connect(A);
    world.login(old, 1, "network");
    world.heard(old);
    let new = world.connect(B);
    world.prompt = false;
    world.login(new, 1, "network");
    world.answer_one(0);
    assert_eq!(world.heard(old), "-ERR internal error: a newer session of this account took over\r\n");
    assert!(!world.is_open(old));
    assert!(matches!(world.asked[..], [(_, Question::Move { .. })]), "{:?}", world.asked);
    assert_eq!(world.heard(new), "", "not before the tunnel has moved");
    world.answer_one(0);
    assert_eq!(world.heard(new), "+OK 198.51.100.2 192.0.2.1 2001:0db8:0001::/48\r\n");
    assert_eq!(world.tunnels(), [(1, "s1".into(), Ipv4Addr::from(B))]);
    world.prompt = true;
    world.input(Input::Closed(old));
    assert_eq!(world.tunnels().len(), 1, "the old connection's end means nothing now");
}

#[test]
fn another_type_takes_the_old_tunnel_down_first() {
    let mut world = world();
    let old = world.connect(A);
    world.login(old, 1, "network");
    let new = world.connect(A);
    world.prompt = false;
    world.login(new, 1, "host");
    world.answer_one(0);
    assert!(matches!(world.asked[..], [(_, Question::Remove { .. })]), "{:?}", world.asked);
    world.answer_one(0);
    assert!(world.tunnels().is_empty());
    assert_eq!(world.heard(new), "");
    world.answer_one(0);
    assert!(world.heard(new).starts_with("+OK 198.51.100.1 192.0.2.1 2001:db8:ffff::1:2"));
}

#[test]
fn sessions_that_overtake_one_another_leave_one_tunnel() {
    let mut world = world();
    world.prompt = false;
    let sessions: Vec<_> = (1..=5).map(|host| world.connect([198, 51, 100, host])).collect();
    for &session in &sessions {
        world.login(session, 1, "network");
    }
    while !world.asked.is_empty() {
        world.answer_one(0);
    }
    let open: Vec<_> = sessions.iter().filter(|&&session| world.is_open(session)).collect();
    assert_eq!(open, [&sessions[4]]);
    assert_eq!(world.tunnels(), [(1, "s1".into(), Ipv4Addr::new(198, 51, 100, 5))]);
    assert!(world.heard(sessions[4]).contains("+OK 198.51.100.5 "));
}

#[test]
fn another_account_from_the_same_address_is_refused_with_the_reason() {
    let mut world = world();
    let first = world.connect(A);
    world.login(first, 1, "network");
    let other = world.connect(A);
    let reply = world.login(other, 2, "network");
    assert_eq!(reply, "-ERR internal error: another account has a tunnel from 198.51.100.1");
    assert!(!world.is_open(other));
    assert!(world.is_open(first), "the first is not disturbed");
    let (account, holder, address) = ("s2".into(), "s1".into(), Ipv4Addr::from(A));
    assert!(world.events.contains(&Event::AddressConflict { account, holder, address }));
    world.tell_line(first, "quit");
    let other = world.connect(A);
    assert_eq!(world.login(other, 2, "network"), "+OK 198.51.100.1 192.0.2.2 2001:0db8:0002::/48");
}

#[test]
fn a_moving_tunnel_keeps_both_addresses() {
    let mut world = world();
    let old = world.connect(A);
    world.login(old, 1, "network");
    let new = world.connect(B);
    world.prompt = false;
    world.login(new, 1, "network");
    world.answer_one(0);
    for address in [A, B] {
        let other = world.connect(address);
        world.login(other, 2, "network");
        let last = world.asked.len() - 1;
        world.answer_one(last);
        assert!(world.heard(other).starts_with("-ERR internal error: another account"), "{address:?}");
    }
}

#[test]
fn connections_are_limited_by_source_and_in_all() {
    let settings = Settings { max_connections_per_source: 2, max_connections: 3, ..Settings::default() };
    let mut world = World::new(settings);
    let mut connect = |address, open| {
        let connection = world.connect(address);
        assert_eq!(world.is_open(connection), open);
        (connection, world.heard(connection))
    };
    let (first, _) = connect(A, true);
    connect(A, true);
    let (_, refusal) = connect(A, false);
    assert_eq!(refusal, "-ERR internal error: too many connections, try again later\r\n");
    connect(B, true);
    connect([198, 51, 100, 3], false);
    world.input(Input::Closed(first));
    let late = world.connect([198, 51, 100, 3]);
    assert!(world.is_open(late));
}

#[test]
fn what_a_client_may_send_is_bounded() {
    let mut world = world();
    let connection = world.connect(A);
    world.say(connection, &"x".repeat(400));
    assert!(world.is_open(connection));
    world.say(connection, &"x".repeat(200));
    assert!(!world.is_open(connection), "a line without end");

    let connection = world.connect(A);
    world.login(connection, 1, "network");
    world.say(connection, &"ping\n".repeat(1_000));
    assert_eq!(world.heard(connection), "+OK pong\r\n".repeat(1_000), "many short lines are no long one");

    let connection = world.connect(B);
    world.heard(connection);
    world.say(connection, &"x\n".repeat(1_000));
    assert!(!world.is_open(connection), "too many lines before the login");
    assert_eq!(world.heard(connection).lines().count(), 33);

    world.prompt = false;
    let connection = world.connect(B);
    let line = world.login_line(connection, "s2", "secret2", "network");
    world.say(connection, &format!("{line}\r\n"));
    world.say(connection, &"ping\n".repeat(200));
    assert!(!world.is_open(connection), "nothing is piled up while a login is looked up");
}

#[test]
fn lines_sent_ahead_are_answered_in_order() {
    let mut world = world();
    world.prompt = false;
    let connection = world.connect(A);
    let line = world.login_line(connection, "s1", "secret1", "tunnelonly");
    world.heard(connection);
    world.say(connection, &format!("ping\n{line}\nping\nquit\n"));
    assert_eq!(world.heard(connection), "+OK pong\r\n");
    world.answer_one(0);
    world.answer_one(0);
    assert_eq!(world.heard(connection), "+OK 198.51.100.1 192.0.2.1\r\n+OK pong\r\n+OK bye\r\n");
    world.answer_one(0);
    assert!(world.tunnels().is_empty());
}

#[test]
fn lookups_are_bounded_and_their_failure_is_no_failed_login() {
    let mut world = World::new(Settings { max_lookups: 1, ..Settings::default() });
    world.prompt = false;
    let (first, second) = (world.connect(A), world.connect(B));
    world.login(first, 1, "network");
    assert_eq!(
        world.login(second, 2, "network"),
        "-ERR internal error: too many connections, try again later"
    );
    world.accounts_away = true;
    world.answer_one(0);
    let reply = world.heard(first);
    assert_eq!(reply, "-ERR internal error: accounts cannot be looked up, try again later\r\n");
    world.accounts_away = false;
    world.prompt = true;
    assert_eq!(world.login(first, 1, "tunnelonly"), "+OK 198.51.100.1 192.0.2.1");
}

#[test]
fn a_client_that_leaves_during_its_login_leaves_nothing() {
    for answers_before in 0..2 {
        let mut world = world();
        world.prompt = false;
        let connection = world.connect(A);
        world.login(connection, 1, "network");
        for _ in 0..answers_before {
            world.answer_one(0);
        }
        world.input(Input::Closed(connection));
        while !world.asked.is_empty() {
            world.answer_one(0);
        }
        assert!(world.tunnels().is_empty());
        assert_eq!(world.broker.sizes(), [0; 6]);
    }
}

#[test]
fn nothing_secret_shows() {
    let mut world = world();
    let connection = world.connect(A);
    world.prompt = false;
    world.login(connection, 1, "network");
    let shown = format!("{:?} {:?} {:?}", world.broker, world.accounts["s1"], world.asked);
    assert!(!shown.contains("secret1"));
    let line = world.login_line(connection, "s1", "secret1", "network");
    assert!(!shown.to_uppercase().contains(line.split(' ').nth(2).unwrap()));
}

#[test]
fn a_site_with_a_tunnel_asks_for_the_centre() {
    let centre =
        Centre { sip: "[2001:db8:c::5]:5060".parse().ok(), dns: vec!["2001:db8:c::53".parse().unwrap()] };
    let mut world = World::new(Settings { centre, ..Settings::default() });
    let connection = world.connect(A);
    assert_eq!(world.tell_line(connection, "centre"), "-ERR invalid command", "only with a tunnel");
    world.login(connection, 1, "network");
    assert_eq!(world.tell_line(connection, "centre"), "+OK sip=[2001:db8:c::5]:5060 dns=2001:db8:c::53");
    assert_eq!(world.tell_line(connection, "help"), "+OK valid commands are: TUNNEL PING QUIT");
}

#[test]
fn reports_are_thanked_for_and_looked_at_now_and_then() {
    let mut world = world();
    let connection = world.connect(A);
    assert_eq!(world.tell_line(connection, "report neighbours=1 capacity=2"), "-ERR invalid command");
    world.login(connection, 1, "network");
    for neighbours in [120, 121] {
        let line = format!("report neighbours={neighbours} capacity=128");
        assert_eq!(world.tell_line(connection, &line), "+OK noted");
    }
    world.pass(seconds(10));
    assert_eq!(world.tell_line(connection, "report neighbours=128 capacity=128"), "+OK noted");
    assert_eq!(world.tell_line(connection, "report capacity=128"), "-ERR invalid command");
    let reports: Vec<_> =
        world.events.iter().filter(|event| matches!(event, Event::Reported { .. })).collect();
    let report =
        |neighbours| Event::Reported { account: "s1".into(), report: Report { neighbours, capacity: 128 } };
    assert_eq!(reports, [&report(120), &report(128)]);
}

#[test]
fn a_revoked_account_loses_session_and_tunnel() {
    let mut world = world();
    let connection = world.connect(A);
    world.login(connection, 1, "network");
    let standing: Vec<_> = world.broker.tunnels().collect();
    assert_eq!(standing.len(), 1);
    assert!(
        standing[0].has_session
            && &*standing[0].account == "s1"
            && standing[0].outer.client == Ipv4Addr::from(A)
    );
    world.input(Input::Revoked("s2".into()));
    assert!(world.is_open(connection));
    world.heard(connection);
    world.input(Input::Revoked("s1".into()));
    assert_eq!(world.heard(connection).trim_end(), FAILED);
    assert!(!world.is_open(connection));
    assert!(world.tunnels().is_empty() && world.broker.tunnels().next().is_none());
}
