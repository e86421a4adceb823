//! The called party is busy.

use std::net::{Ipv4Addr, SocketAddr};

use crate::support::{Node, Sipp, have, phone};
use user_agent::Incoming;

#[test]
fn at_the_gateway() {
    if !have("sipp") {
        return;
    }
    let node = Node::start();
    let [line] = node.add_lines(["101"]);
    let busy = Sipp::gateway("refuse_busy.xml").start();
    // Busy is the called party's word: the next gateway is not asked.
    node.add_trunk("carrier", &[busy.local, SocketAddr::from((Ipv4Addr::LOCALHOST, 9))]);
    let trace = Sipp::call("call_refused.xml", &line, "0312345678", node.proxy).run();
    assert_eq!(trace.final_status(), 486);
    busy.succeed();
    let record = node.call_record();
    assert_eq!(
        (&record["direction"], &record["result"], &record["status"]),
        (&"outbound".into(), &"busy".into(), &486.into()),
        "{record:#}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn at_a_phone() {
    if !have("sipp") {
        return;
    }
    let node = Node::start();
    let [caller, called] = node.add_lines(["101", "102"]);
    node.add_number("+81355550102", &called);
    node.add_trunk("carrier", &[SocketAddr::from((Ipv4Addr::LOCALHOST, 9))]);
    let phone = phone(&node, &called).await;
    phone.set_incoming(Incoming::Busy);
    let inside = Sipp::call("call_refused.xml", &caller, "102", node.proxy).run();
    let outside = Sipp::new("gateway_call_refused.xml", node.trunk_side);
    let outside = outside.key("dialled", "+81355550102").key("caller", "09012345678").run();
    assert_eq!((inside.final_status(), outside.final_status()), (486, 486));
    let records = node.call_records(2);
    let seen: Vec<_> = records.iter().map(|record| (&record["direction"], &record["result"])).collect();
    assert_eq!(
        seen,
        [(&"internal".into(), &"busy".into()), (&"inbound".into(), &"busy".into())],
        "{records:#?}"
    );
}
