//! Tunnel servers that are full, fail, go away and come back.

use super::*;

fn world() -> World {
    World::new(Settings::default())
}

fn login(world: &mut World, address: [u8; 4], site: u16) -> (ConnectionId, String) {
    let connection = world.connect(address);
    let reply = world.login(connection, site, "network");
    (connection, reply)
}

#[test]
fn an_account_gets_a_server_of_its_region_with_room_and_then_another() {
    let mut world = World::new(Settings::default());
    world.start_server(1, "east", 1);
    assert!(login(&mut world, A, 1).1.contains(" 192.0.2.1 "));
    assert!(login(&mut world, B, 3).1.contains(" 192.0.2.2 "), "the east is full");
}

#[test]
fn sold_out() {
    let mut world = world();
    world.start_server(1, "east", 1);
    world.start_server(2, "west", 0);
    let (first, _) = login(&mut world, A, 1);
    let (second, reply) = login(&mut world, B, 3);
    assert_eq!(reply, "-ERR tunnel interface sold out");
    assert!(!world.is_open(second));
    world.tell_line(first, "quit");
    assert!(login(&mut world, B, 3).1.starts_with("+OK"));
}

#[test]
fn a_server_that_says_it_is_full_is_passed_over() {
    let mut world = world();
    world.servers.get_mut(&ServerId(1)).unwrap().failure = Some(TunnelFailure::Full);
    assert!(login(&mut world, A, 1).1.contains(" 192.0.2.2 "));
    world.servers.get_mut(&ServerId(2)).unwrap().failure = Some(TunnelFailure::Full);
    assert_eq!(login(&mut world, B, 3).1, "-ERR tunnel interface sold out");
    assert_eq!(world.tunnels().len(), 1);
}

#[test]
fn a_failed_tunnel_leaves_nothing_behind() {
    for failure in [TunnelFailure::Clash, TunnelFailure::Unknown] {
        let mut world = world();
        world.servers.get_mut(&ServerId(1)).unwrap().failure = Some(failure);
        let (connection, reply) = login(&mut world, A, 1);
        assert!(reply.starts_with("-ERR internal error: tunnel server"), "{reply}");
        assert!(!world.is_open(connection));
        assert_eq!(world.broker.sizes(), [0; 6], "{failure:?}");
        world.servers.get_mut(&ServerId(1)).unwrap().failure = None;
        assert!(login(&mut world, B, 2).1.starts_with("+OK"));
        assert!(login(&mut world, A, 1).1.starts_with("+OK"));
    }
}

#[test]
fn a_tunnel_that_was_raised_without_an_answer_is_found_and_taken_down() {
    let mut world = world();
    world.servers.get_mut(&ServerId(1)).unwrap().mute = Some(true);
    let (_, reply) = login(&mut world, A, 1);
    assert!(reply.starts_with("-ERR internal error: tunnel server"), "{reply}");
    assert_eq!(world.tunnels().len(), 1, "it stands without our knowing");
    assert!(login(&mut world, A, 1).1.contains(" 192.0.2.2 "), "the next login gets another server");
    world.start_server(1, "east", 100);
    assert_eq!(world.tunnels(), [(2, "s1".into(), Ipv4Addr::from(A))]);
}

#[test]
fn a_server_that_lost_the_tunnel_raises_it_anew() {
    let mut world = world();
    let (connection, _) = login(&mut world, A, 1);
    world.heard(connection);
    world.servers.get_mut(&ServerId(1)).unwrap().held.clear();
    world.input(Input::ServerDown(ServerId(1)));
    world.start_server(1, "east", 100);
    assert_eq!(world.tunnels(), [(1, "s1".into(), Ipv4Addr::from(A))]);
    assert!(world.is_open(connection));
    assert_eq!(world.heard(connection), "", "the client need not know");

    world.servers.get_mut(&ServerId(1)).unwrap().held.clear();
    assert!(login(&mut world, B, 1).1.starts_with("+OK 198.51.100.2 "), "a move finds that it is gone");
    assert_eq!(world.tunnels(), [(1, "s1".into(), Ipv4Addr::from(B))]);
}

#[test]
fn a_tunnel_raised_anew_elsewhere_makes_the_client_log_in_again() {
    let mut world = world();
    let (connection, _) = login(&mut world, A, 1);
    world.heard(connection);
    world.servers.get_mut(&ServerId(1)).unwrap().held.clear();
    world.start_server(1, "east", 0);
    assert!(world.heard(connection).starts_with("-ERR internal error: tunnel server"));
    assert!(world.tunnels().is_empty());
    assert_eq!(world.broker.sizes(), [0; 6]);
}

#[test]
fn a_server_may_be_away_for_its_grace_and_no_longer() {
    let mut world = world();
    let (connection, _) = login(&mut world, A, 1);
    let (other, _) = login(&mut world, B, 2);
    world.heard(connection);
    world.input(Input::ServerDown(ServerId(1)));
    world.pass(seconds(9));
    world.start_server(1, "east", 100);
    world.pass(seconds(20));
    assert!(world.is_open(connection));
    world.input(Input::ServerDown(ServerId(1)));
    world.pass(seconds(10));
    assert!(world.heard(connection).starts_with("-ERR internal error: tunnel server"));
    assert!(!world.is_open(connection));
    assert!(world.is_open(other), "only the sites of that server are sent away");
    assert!(login(&mut world, A, 1).1.contains(" 192.0.2.2 "));
    world.start_server(1, "east", 100);
    assert_eq!(world.tunnels().len(), 2, "the old tunnel is taken down when its server is back");
}

#[test]
fn a_restarted_broker_keeps_the_tunnels_that_it_finds_until_their_sites_return() {
    let mut world = world();
    login(&mut world, A, 1);
    login(&mut world, B, 3);
    world.broker = Broker::new(Settings::default(), [8; 32]);
    world.timers.clear();
    world.start_server(1, "east", 100);
    world.start_server(2, "west", 100);
    assert_eq!(world.tunnels().len(), 2);
    world.pass(seconds(100));
    let before: Vec<_> = world.servers[&ServerId(1)].held.keys().copied().collect();
    let (connection, reply) = login(&mut world, [198, 51, 100, 9], 1);
    assert!(reply.starts_with("+OK 198.51.100.9 192.0.2.1 "));
    let after: Vec<_> = world.servers[&ServerId(1)].held.keys().copied().collect();
    assert_eq!(before, after, "it is the same tunnel, moved");
    world.pass(seconds(80));
    assert_eq!(world.tunnels(), [(1, "s1".into(), Ipv4Addr::new(198, 51, 100, 9))], "s3 did not return");
    assert!(world.events.contains(&Event::Unclaimed { account: "s3".into() }));
    world.tell_line(connection, "quit");
    assert_eq!(world.broker.sizes(), [0; 6]);
}
