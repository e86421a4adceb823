//! Brokers and tunnel servers that go and come.

use super::*;
use crate::control::ControlServer;
use crate::testing::executor_in;

async fn control(executor: &Arc<Executor>, address: SocketAddr) -> ControlServer {
    ControlServer::start(address, ControlKey::new([7; 32]), Arc::clone(executor)).await.unwrap()
}

fn anywhere() -> SocketAddr {
    "127.0.0.1:0".parse().unwrap()
}

/// A broker whose tunnel server is elsewhere.
async fn broker(server: SocketAddr, book: &Arc<Book>) -> (Service, Shutdown) {
    let shutdown = Shutdown::new();
    let settings = Settings { listen: "127.0.0.1:0".parse().ok(), ..settings(vec![ServerPlace::At(server)]) };
    (Service::start(settings, world(book), &shutdown).await.unwrap(), shutdown)
}

/// Logs in until the tunnel server is there.
async fn log_in(service: &Service, site: u16) -> Client<tokio::net::TcpStream> {
    loop {
        let stream = tokio::net::TcpStream::connect(local(service.plain_address().unwrap())).await.unwrap();
        let mut client = Client::new(stream).await;
        let reply = client.login(site).await;
        if reply.starts_with("+OK ") {
            return client;
        }
        assert!(reply.contains("sold out") || reply.contains("tunnel server does not answer"), "{reply}");
    }
}

#[tokio::test]
async fn tunnels_stand_when_the_broker_goes_and_the_next_one_takes_them_over() {
    let (executor, plane) = executor(10);
    let server = control(&executor, anywhere()).await;
    let book = Arc::new(Book::default());
    let (first, shutdown) = broker(server.address(), &book).await;
    let mut client = log_in(&first, 1).await;
    let before = first.desk().tunnels().await.unwrap();
    shutdown.stop();
    first.ended().await.unwrap();
    assert!(client.is_closed().await);
    assert_eq!(plane.tunnels().len(), 1, "calls go on meanwhile");

    let (second, _shutdown) = broker(server.address(), &book).await;
    let _client = log_in(&second, 1).await;
    let after = second.desk().tunnels().await.unwrap();
    assert_eq!(before, after, "it is the same tunnel");
}

#[tokio::test]
async fn what_was_found_and_is_barred_meanwhile_goes_at_once() {
    let (executor, plane) = executor(10);
    let server = control(&executor, anywhere()).await;
    let book = Arc::new(Book::default());
    let (first, shutdown) = broker(server.address(), &book).await;
    let _client = log_in(&first, 1).await;
    shutdown.stop();
    first.ended().await.unwrap();
    book.barred.lock().unwrap().push("s1".to_owned());
    let (second, _shutdown) = broker(server.address(), &book).await;
    while !plane.tunnels().is_empty() {
        second.desk().tunnels().await.unwrap();
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn a_tunnel_server_that_restarts_gets_its_tunnels_back_and_clients_do_not_notice() {
    let (old, _) = executor(10);
    let server = control(&old, anywhere()).await;
    let address = server.address();
    let book = Arc::new(Book::default());
    let (service, _shutdown) = broker(address, &book).await;
    let mut client = log_in(&service, 1).await;
    server.close().await;
    // Another process on the same machine: it holds nothing.
    let (new, plane) = executor(10);
    let _server = control(&new, address).await;
    while plane.tunnels().is_empty() {
        service.desk().tunnels().await.unwrap();
        tokio::task::yield_now().await;
    }
    assert_eq!(client.say("ping").await, "+OK pong");
}

#[tokio::test(start_paused = true)]
async fn a_plane_that_fails_is_no_end_of_the_broker() {
    let stage = Stage::new(|_| {}).await;
    stage.plane.set_broken(true);
    let mut client = stage.connect(A).await;
    assert_eq!(client.login(1).await, "-ERR internal error: tunnel server does not answer, try again later");
    assert!(client.is_closed().await);
    stage.plane.set_broken(false);
    loop {
        let reply = stage.connect(A).await.login(1).await;
        if reply.starts_with("+OK ") {
            break;
        }
        // The hand-moved clock moves on to the next try.
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

#[tokio::test]
async fn a_site_is_given_the_server_of_its_region_for_as_long_as_that_has_room() {
    let (east, in_east) = executor_in("east", Ipv4Addr::new(192, 0, 2, 7), 1);
    let (west, in_west) = executor_in("west", Ipv4Addr::new(192, 0, 2, 8), 10);
    let servers = [control(&west, anywhere()).await, control(&east, anywhere()).await];
    let places = servers.iter().map(|server| ServerPlace::At(server.address())).collect();
    let stage = Stage::new(|settings| settings.servers = places).await;
    let is_on = |reply: &str, server: &str| reply.contains(&format!(" {server} 2001:"));
    // Either may be found first, and the stage's own client has just left one of them.
    let first = loop {
        let mut client = stage.connect(A).await;
        if is_on(&client.login(1).await, "192.0.2.7") {
            break client;
        }
    };
    let mut second = stage.connect(B).await;
    assert!(is_on(&second.login(2).await, "192.0.2.8"), "the east is full");
    assert_eq!((in_east.tunnels().len(), in_east.tunnels()[0].0), (1, Ipv4Addr::from(A)));
    assert!(in_west.tunnels().iter().any(|(client, _)| *client == Ipv4Addr::from(B)));
    // Whoever comes when there is room again is at home.
    drop(first);
    loop {
        let mut client = stage.connect([198, 51, 100, 3]).await;
        if is_on(&client.login(3).await, "192.0.2.7") {
            break;
        }
    }
    assert_eq!(second.say("ping").await, "+OK pong", "nobody else is moved");
}
