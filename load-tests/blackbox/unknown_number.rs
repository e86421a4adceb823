//! Numbers that lead nowhere.

use std::net::{Ipv4Addr, SocketAddr};

use crate::support::{Node, Sipp, have};

#[test]
fn what_does_not_exist_is_404_and_what_is_not_there_is_480() {
    if !have("sipp") {
        return;
    }
    let node = Node::start();
    let [caller, absent] = node.add_lines(["101", "102"]);
    node.add_number("+81355550102", &absent);
    let dial = |number| Sipp::call("call_refused.xml", &caller, number, node.proxy).run().final_status();
    assert_eq!(dial("199"), 404);
    assert_eq!(dial("899101"), 404);
    // No route leads there yet.
    assert_eq!(dial("0312345678"), 404);
    assert_eq!(dial("102"), 480);

    node.add_trunk("carrier", &[SocketAddr::from((Ipv4Addr::LOCALHOST, 9))]);
    let call = |number| {
        let call = Sipp::new("gateway_call_refused.xml", node.trunk_side);
        call.key("dialled", number).key("caller", "09012345678").run().final_status()
    };
    assert_eq!(call("+81355559999"), 404);
    assert_eq!(call("+81355550102"), 480);
    // Lines may not call other countries unless they were given the right.
    assert_eq!(dial("010442071234567"), 403);

    let records = node.call_records(7);
    let results: Vec<_> = records.iter().map(|record| record["result"].as_str().unwrap()).collect();
    let wanted = ["rejected", "rejected", "rejected", "no_answer", "rejected", "no_answer", "rejected"];
    assert_eq!(results, wanted, "{records:#?}");
}
