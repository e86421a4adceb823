//! What clients see.

use super::*;

#[tokio::test(start_paused = true)]
async fn every_type_and_command_is_answered() {
    let stage = Stage::new(|_| {}).await;
    for (kind, reply) in [
        ("tunnelonly", "+OK 198.51.100.1 192.0.2.1"),
        ("host", "+OK 198.51.100.1 192.0.2.1 2001:db8:ffff::1:2 2001:db8:ffff::1"),
        ("network", "+OK 198.51.100.1 192.0.2.1 2001:0db8:0001::/48"),
        ("tunnelroute", "+OK 198.51.100.1 192.0.2.1 2001:0db8:0001::/48"),
    ] {
        let mut client = stage.connect(A).await;
        let line = client.login_line(1, "secret1", kind);
        assert_eq!(client.say(&line).await, reply);
        assert_eq!(client.say("ping").await, "+OK pong");
        assert_eq!(client.say("HELP").await, "+OK valid commands are: TUNNEL PING QUIT");
        assert_eq!(client.say("centre").await, "+OK sip=[2001:db8:c::5]:5060");
        assert_eq!(client.say("report neighbours=180 capacity=1024").await, "+OK noted");
        assert_eq!(client.say("frobnicate").await, "-ERR invalid command");
        assert_eq!(client.say("quit").await, "+OK bye");
        assert!(client.is_closed().await);
        stage.tunnels_become(&[]).await;
    }
    let mut client = stage.connect(A).await;
    let line = client.login_line(1, "secret1", "l2tp");
    assert_eq!(client.say(&line).await, "-ERR unsupported tunnel type l2tp");
    assert!(client.is_closed().await);
}

#[tokio::test(start_paused = true)]
async fn both_line_ends_both_cases_and_any_pieces_will_do() {
    let stage = Stage::new(|_| {}).await;
    let mut client = stage.connect(A).await;
    let line = client.login_line(1, "secret1", "network");
    let (verb, rest) = line.split_at(7);
    for piece in [verb.to_uppercase().as_str(), &rest.to_lowercase(), "\nping\r", "\nping\n"] {
        client.send(piece).await;
    }
    assert_eq!(client.line().await, "+OK 198.51.100.1 192.0.2.1 2001:0db8:0001::/48");
    assert_eq!(client.line().await, "+OK pong");
    assert_eq!(client.line().await, "+OK pong");
}

#[tokio::test(start_paused = true)]
async fn the_end_of_the_connection_is_the_end_of_the_tunnel() {
    let stage = Stage::new(|_| {}).await;
    let mut client = stage.connect(A).await;
    client.login(1).await;
    stage.tunnels_become(&[A]).await;
    drop(client);
    stage.tunnels_become(&[]).await;
}

#[tokio::test(start_paused = true)]
async fn a_client_that_closes_its_side_still_hears_the_answers() {
    let stage = Stage::new(|_| {}).await;
    let mut client = stage.connect(A).await;
    client.send("ping\nhelp\n").await;
    client.writer.shutdown().await.unwrap();
    assert_eq!(client.line().await, "+OK pong");
    assert_eq!(client.line().await, "+OK valid commands are: TUNNEL PING QUIT");
    assert!(client.is_closed().await);
}

#[tokio::test(start_paused = true)]
async fn three_failures_close_the_connection_after_a_delay() {
    let stage = Stage::new(|_| {}).await;
    let mut client = stage.connect(A).await;
    let started = tokio::time::Instant::now();
    let (user, password) = (
        client.login_line(7, "secret1", "network").replace("s7", "x7"),
        client.login_line(1, "x", "network"),
    );
    for line in [user.as_str(), &password, "tunnel s1"] {
        assert_eq!(client.say(line).await, AUTHENTICATION_FAILED);
    }
    client.send("ping\n").await;
    assert!(client.is_closed().await);
    assert_eq!(started.elapsed().as_secs(), 3);
    assert!(stage.plane.tunnels().is_empty());
}

#[tokio::test(start_paused = true)]
async fn silence_ends_a_session_after_one_minute_or_five() {
    let stage = Stage::new(|_| {}).await;
    for (login, limit) in [(false, 60), (true, 300)] {
        let mut client = stage.connect(A).await;
        if login {
            client.login(1).await;
        }
        let started = tokio::time::Instant::now();
        assert_eq!(client.line().await, "-ERR connection timed out, disconnecting");
        assert_eq!(started.elapsed().as_secs(), limit);
        assert!(client.is_closed().await);
        stage.tunnels_become(&[]).await;
    }
}

#[tokio::test(start_paused = true)]
async fn the_newest_login_takes_over_and_the_tunnel_moves() {
    let stage = Stage::new(|_| {}).await;
    let mut old = stage.connect(A).await;
    old.login(1).await;
    let mut new = stage.connect(B).await;
    assert_eq!(new.login(1).await, "+OK 198.51.100.2 192.0.2.1 2001:0db8:0001::/48");
    assert_eq!(old.line().await, "-ERR internal error: a newer session of this account took over");
    assert!(old.is_closed().await);
    stage.tunnels_become(&[B]).await;
    // The old one's end does not touch the new one's tunnel.
    drop(old);
    assert_eq!(new.say("ping").await, "+OK pong");
    stage.tunnels_become(&[B]).await;
}

#[tokio::test(start_paused = true)]
async fn another_account_from_the_same_address_is_refused_with_a_reason() {
    let stage = Stage::new(|_| {}).await;
    let mut first = stage.connect(A).await;
    first.login(1).await;
    let mut second = stage.connect(A).await;
    assert_eq!(second.login(2).await, "-ERR internal error: another account has a tunnel from 198.51.100.1");
    assert!(second.is_closed().await);
    assert_eq!(first.say("ping").await, "+OK pong");
}

#[tokio::test(start_paused = true)]
async fn connections_are_bounded_by_source_and_in_all() {
    let stage = Stage::new(|settings| {
        settings.broker.max_connections_per_source = 2;
        settings.broker.max_connections = 3;
    })
    .await;
    let open = [stage.connect(A).await, stage.connect(A).await, stage.connect(B).await];
    for address in [A, [198, 51, 100, 3]] {
        let (ours, theirs) = duplex(4096);
        let front = Arc::clone(&stage.service.front);
        tokio::spawn(async move { front.serve(ours, Ipv4Addr::from(address)).await });
        let mut text = String::new();
        BufReader::new(theirs).read_line(&mut text).await.unwrap();
        assert_eq!(text, "-ERR internal error: too many connections, try again later\r\n");
    }
    drop(open);
    stage.tunnels_become(&[]).await;
    let mut client = stage.connect(A).await;
    assert_eq!(client.say("ping").await, "+OK pong");
}

#[tokio::test(start_paused = true)]
async fn a_client_that_does_not_read_is_dropped() {
    let stage = Stage::new(|_| {}).await;
    let mut client = stage.connect_through(64, A).await;
    client.login(1).await;
    stage.tunnels_become(&[A]).await;
    // It goes on sending for as long as anybody takes it, and reads nothing.
    let flood = async { while client.writer.write_all(b"ping\n").await.is_ok() {} };
    flood.await;
    stage.tunnels_become(&[]).await;
}

#[tokio::test(start_paused = true)]
async fn a_barred_account_does_not_exist_and_loses_what_it_has() {
    let stage = Stage::new(|_| {}).await;
    let (mut first, mut second) = (stage.connect(A).await, stage.connect(B).await);
    first.login(1).await;
    second.login(2).await;
    stage.book.barred.lock().unwrap().push("s1".to_owned());
    stage.service.desk().accounts_changed();
    assert_eq!(first.line().await, AUTHENTICATION_FAILED);
    assert!(first.is_closed().await);
    stage.tunnels_become(&[B]).await;
    assert_eq!(stage.connect(A).await.login(1).await, AUTHENTICATION_FAILED);
    // A site that was given another prefix shall fetch it.
    let renumbered = "2001:db8:99::/48".parse().unwrap();
    stage.book.renumbered.lock().unwrap().insert("s2".to_owned(), renumbered);
    stage.service.desk().accounts_changed();
    assert_eq!(second.line().await, "-ERR internal error: the account was changed, log in again");
    assert!(second.is_closed().await);
    let mut second = stage.connect(B).await;
    assert_eq!(second.login(2).await, "+OK 198.51.100.2 192.0.2.1 2001:0db8:0099::/48");
    // Whoever knows only the old password is out.
    stage.book.passwords.lock().unwrap().insert("s2".to_owned(), "another".to_owned());
    stage.service.desk().accounts_changed();
    assert_eq!(second.line().await, AUTHENTICATION_FAILED);
    assert!(second.is_closed().await);
    stage.tunnels_become(&[]).await;
    assert_eq!(stage.connect(B).await.login(2).await, AUTHENTICATION_FAILED);
    let mut second = stage.connect(B).await;
    let line = second.login_line(2, "another", "network");
    assert_eq!(second.say(&line).await, "+OK 198.51.100.2 192.0.2.1 2001:0db8:0099::/48");
    stage.service.desk().accounts_changed();
    assert_eq!(second.say("ping").await, "+OK pong", "nothing has changed since");
}

#[tokio::test]
async fn clients_come_over_real_sockets_too() {
    let stage = Stage::new(|settings| settings.listen = "127.0.0.1:0".parse().ok()).await;
    let address = local(stage.service.plain_address().unwrap());
    let stream = tokio::net::TcpStream::connect(address).await.unwrap();
    let mut client = Client::new(stream).await;
    assert_eq!(client.login(1).await, "+OK 127.0.0.1 192.0.2.1 2001:0db8:0001::/48");
    let standing = stage.service.desk().tunnels().await.unwrap();
    assert_eq!((standing.len(), &*standing[0].account, standing[0].has_session), (1, "s1", true));
    stage.shutdown.stop();
    stage.service.ended().await.unwrap();
    assert!(client.is_closed().await);
    assert!(tokio::net::TcpStream::connect(address).await.is_err(), "the door is shut");
}
