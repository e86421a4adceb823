//! A storm of registrations with digest; refresh and de-registration.

use user_agent::{CallOptions, Incoming, UaError};

use crate::support::{Credentials, Node, Setup, Sipp, have, soon, unregistered};

#[test]
fn five_hundred_phones_register_at_once() {
    if !have("sipp") {
        return;
    }
    let node = Node::start();
    let domain = node.add_site(1);
    let extensions: Vec<String> = (1000..1000 + PHONES).map(|number| number.to_string()).collect();
    let lines: Vec<Credentials> = std::thread::scope(|scope| {
        let add = |part: Vec<String>| {
            part.iter().map(|extension| node.add_line(&domain, extension)).collect::<Vec<_>>()
        };
        let parts = extensions.chunks(PHONES / 4).map(<[String]>::to_vec);
        let threads: Vec<_> = parts.map(|part| scope.spawn(move || add(part))).collect();
        threads.into_iter().flat_map(|thread| thread.join().unwrap()).collect()
    });
    let count = PHONES.to_string();
    let storm = Sipp::new("register.xml", node.proxy).calls(PHONES as u32).auth_uri(&domain);
    let storm = lines.iter().fold(storm, |storm, line| storm.row(&line.row("3600")));
    let trace = storm.args(&["-r", &count, "-l", &count]).run();
    assert_eq!((trace.calls_with("401"), trace.calls_with("200")), (PHONES, PHONES));
    assert_eq!(node.registered(), PHONES as u64);
}

#[test]
fn a_registration_is_refreshed_and_removed() {
    if !have("sipp") {
        return;
    }
    let node = Node::start();
    let [line, stays] = node.add_lines(["101", "102"]);
    Sipp::register(&stays, node.proxy).run();
    let trace =
        Sipp::new("register_cycle.xml", node.proxy).row(&line.row("3600")).auth_uri(&line.domain).run();
    let contacts: Vec<_> =
        trace.received("200").iter().map(|traced| traced.message.values("Contact")).collect();
    // One binding after the first and the second REGISTER, none after the third.
    assert_eq!(contacts.iter().map(Vec::len).collect::<Vec<_>>(), [1, 1, 0], "{contacts:?}");
    assert_eq!(node.registered(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_registration_lapses() {
    let setup = Setup::new().set("REGISTRAR_PROXY__MIN_EXPIRES_S", "1");
    // It calls as often as it can.
    let node = setup.set("ADMISSION__SITE_CALLS_PER_SECOND", "0").start();
    let [line, caller] = node.add_lines(["101", "102"]);
    let (called, caller) = (unregistered(&node, &line), unregistered(&node, &caller));
    called.set_incoming(Incoming::Busy);
    assert_eq!(soon("the phone registers", called.register_for(1)).await.unwrap().expires, 1);
    let lapsed = async {
        loop {
            let call = caller.call("101", CallOptions::default()).await.unwrap();
            match call.answered().await {
                Err(UaError::Rejected { status: 486, .. }) => {}
                other => return other,
            }
        }
    };
    let after = soon("the binding lapses", lapsed).await;
    assert!(matches!(after, Err(UaError::Rejected { status: 480, .. })), "{after:?}");
}

const PHONES: usize = 500;
