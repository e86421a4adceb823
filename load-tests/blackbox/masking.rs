//! Numbers and addresses of subscribers stay out of the log when the operator wants that.

use user_agent::CallOptions;

use crate::support::{Credentials, Setup, Sipp, gateway, have, phone, soon};

#[tokio::test(flavor = "multi_thread")]
async fn the_log_names_no_subscriber() {
    if !have("sipp") {
        return;
    }
    let node = Setup::new().set("LOG__MASK_NUMBERS", "true").set("LOG__MASK_ADDRESSES", "true").start();
    let [line, other] = node.add_lines(["771017701", "881028802"]);
    node.add_number("+81355550101", &line);
    let gateway = gateway(&node);
    node.add_trunk("carrier", &[gateway.local_addr()]);
    let (phone, called) = (phone(&node, &line).await, phone(&node, &other).await);
    for (phone, dialled) in [(&phone, "0312345678"), (&phone, "881028802"), (&called, "0312345679")] {
        let call = soon("the call begins", phone.call(dialled, CallOptions::default())).await.unwrap();
        soon("it is answered", call.answered()).await.unwrap();
        soon("the call ends", call.hangup()).await.unwrap();
    }
    let call = soon("the call begins", gateway.call("+81355550101", CallOptions::default())).await.unwrap();
    soon("the phone answers", call.answered()).await.unwrap();
    soon("the call ends", call.hangup()).await.unwrap();
    Sipp::call("call_refused.xml", &line, "0398765432100000", node.proxy).run();
    let wrong = Credentials { password: "guessed".to_owned(), ..line.clone() };
    let wrong = Sipp::call("call_refused.xml", &wrong, "881028802", node.proxy).start();
    let wrong_port = wrong.local.port();
    wrong.succeed();
    let log = node.log();
    for secret in ["312345678", "312345679", "355550101", "398765432", "771017701", "881028802"] {
        assert!(!log.contains(secret), "{secret} is in the log");
    }
    for port in [phone.local_addr().port(), called.local_addr().port(), wrong_port] {
        assert!(!log.contains(&format!("]:{port}")), "port {port} is in the log");
    }
    // What is masked can still be told apart, and who calls whom is in the records.
    assert!(log.contains("call begins"), "{log}");
    let records = node.call_records(5);
    assert!(records.iter().any(|record| record["callee"] == "+81312345678"), "{records:#?}");
}
