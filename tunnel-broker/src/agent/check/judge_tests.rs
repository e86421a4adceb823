//! What is found at which site.

use std::net::{Ipv4Addr, Ipv6Addr};

use super::super::neighbours::Fill;
use super::super::status::{
    AddressState, Failure, LanStatus, LoginStatus, NeighbourStatus, OtherRouter, PhoneStatus, SiteStatus,
    Stage, Status, TunnelStatus,
};
use super::judge::{Evidence, Granted, LanSeen, LineSeen, LoginSeen, SipSeen, TunnelSeen};
use super::{Finding, Report, State};

const LOCAL: Ipv4Addr = Ipv4Addr::new(192, 168, 1, 2);
const PUBLIC: Ipv4Addr = Ipv4Addr::new(198, 51, 100, 7);

fn server() -> Ipv4Addr {
    Ipv4Addr::new(192, 0, 2, 1)
}

fn far() -> Ipv6Addr {
    "2001:db8:ffff::1".parse().unwrap()
}

fn granted() -> Granted {
    Granted { prefix: "2001:db8:1::/48".parse().unwrap(), server: server(), local: LOCAL, seen_as: PUBLIC }
}

fn lan() -> LanStatus {
    LanStatus {
        interface: "eth1".into(),
        vlan: 0,
        exists: true,
        up: true,
        carrier: true,
        address: Some("2001:db8:1::1".parse().unwrap()),
        address_state: Some(AddressState::Ready),
        advertises: true,
        advertised: Some(3),
        phones: 2,
        others: Vec::new(),
        fault: None,
    }
}

fn status() -> Status {
    Status {
        version: "0".into(),
        broker: "broker:20200".into(),
        user: "s1".into(),
        login: LoginStatus {
            stage: Stage::LoggedIn,
            since: 5,
            local: Some(LOCAL),
            remote: None,
            failure: None,
            logins: 1,
        },
        site: Some(SiteStatus {
            prefix: granted().prefix,
            server: server(),
            local: LOCAL,
            seen_as: PUBLIC,
            behind_nat: true,
            routes: true,
        }),
        tunnel: Some(TunnelStatus {
            device: "cx6iad".into(),
            mtu: 1280,
            packets_in: 0,
            packets_out: 0,
            dropped: 0,
            heard: None,
            fault: None,
        }),
        tunnel_fault: None,
        lans: vec![lan()],
        forwarding_fault: None,
        neighbours: Some(neighbours(4, 1024)),
        sip: None,
        dns: Vec::new(),
        phones: Some(PhoneStatus { registered: 2, calls: 0, last_call: None }),
    }
}

fn neighbours(entries: u32, capacity: u32) -> NeighbourStatus {
    let fill = Fill { entries, capacity };
    NeighbourStatus { fill, level: fill.level() }
}

/// A site at which everything is well.
fn sound() -> Evidence {
    Evidence {
        agent: Some(status()),
        line: Some(LineSeen {
            local: LOCAL,
            gateway: Some([192, 168, 1, 1].into()),
            interface: Some("eth0".into()),
        }),
        login: LoginSeen::In(granted()),
        lans: vec![LanSeen { lan: lan(), phones: 2 }],
        tunnel: TunnelSeen::Answered(far()),
        carried: false,
        sip: SipSeen::Answered("[2001:db8:c::5]:5060".parse().unwrap(), "200 OK".into()),
    }
}

fn states(report: &Report) -> String {
    let letter = |finding: &Finding| match finding.state {
        State::Holds => 'h',
        State::Fails => 'F',
        State::NotTried => '-',
        State::Unknown => '?',
    };
    report.steps.iter().map(letter).collect()
}

/// The one failing step: its cause and remedy.
fn failing(evidence: &Evidence) -> (String, String, String) {
    let report = evidence.judge();
    assert!(!report.good);
    let mut fails = report.steps.iter().filter(|finding| finding.state == State::Fails);
    let finding = fails.next().unwrap();
    assert!(fails.next().is_none(), "{report}");
    (states(&report), finding.cause.clone().unwrap(), finding.remedy.clone().unwrap())
}

fn failure(stage: Stage) -> Failure {
    Failure { stage, cause: "the cause".into(), remedy: "the remedy".into() }
}

#[test]
fn a_sound_site_passes_and_calls_are_not_claimed() {
    let report = sound().judge();
    assert_eq!(states(&report), "hhhhhhh?");
    assert!(report.good);
    let text = report.to_string();
    assert!(
        text.contains("1 IPv4 line") && text.contains("192.168.1.2 through 192.168.1.1 (eth0)"),
        "{text}"
    );
    assert!(text.contains("behind a NAT: 192.168.1.2 is seen as 198.51.100.7"), "{text}");
    assert!(text.ends_with("Every step that can be told from here holds."), "{text}");
}

#[test]
fn calls_hold_when_one_was_answered() {
    let mut evidence = sound();
    let phones = evidence.agent.as_mut().unwrap().phones.as_mut().unwrap();
    (phones.calls, phones.last_call) = (3, Some(20));
    let report = evidence.judge();
    assert_eq!(states(&report), "hhhhhhhh");
    let text = report.to_string();
    assert!(text.contains("let 2 phones in") && text.contains("3 calls of phones here"), "{text}");
}

#[test]
fn what_the_system_says_about_protocol_41_is_understood() {
    let cause = |code| {
        let error = Some(std::io::Error::from_raw_os_error(code));
        failing(&Evidence { tunnel: TunnelSeen::Silent { error }, sip: SipSeen::NotTried, ..sound() }).1
    };
    assert!(cause(libc::ENOPROTOOPT).contains("takes no protocol 41"));
    assert!(cause(libc::EPERM).contains("this box's own firewall"));
    assert!(cause(libc::EHOSTUNREACH).contains("broadband router"));
}

#[test]
fn without_a_line_nothing_else_is_tried() {
    let evidence = Evidence { line: None, login: LoginSeen::Failed(failure(Stage::Dialling)), ..sound() };
    let (states, cause, _) = failing(&evidence);
    assert_eq!(states, "F-------");
    assert!(cause.contains("default route"), "{cause}");
}

#[test]
fn a_refused_login_gives_the_brokers_reason() {
    let login = LoginSeen::Failed(failure(Stage::Greeted));
    let (states, cause, remedy) = failing(&Evidence { login, ..sound() });
    assert_eq!((states.as_str(), cause.as_str(), remedy.as_str()), ("hF------", "the cause", "the remedy"));
    let (states, ..) = failing(&Evidence { login: LoginSeen::Waiting, ..sound() });
    assert_eq!(states, "hF------");
}

#[test]
fn what_stands_from_an_earlier_login_is_still_judged() {
    let login = LoginSeen::Lost(failure(Stage::Dialling), granted());
    assert_eq!(failing(&Evidence { login, ..sound() }).0, "hFhhhhh?");
}

#[test]
fn a_silent_tunnel_behind_a_nat_names_protocol_41_and_this_box() {
    let (states, cause, remedy) =
        failing(&Evidence { tunnel: TunnelSeen::Silent { error: None }, sip: SipSeen::NotTried, ..sound() });
    assert_eq!(states, "hhhhFh--");
    assert_eq!(cause, "protocol 41 does not come through your broadband router");
    assert!(remedy.contains("forward IP protocol 41") && remedy.contains("192.168.1.2"), "{remedy}");
    let open = Granted { local: PUBLIC, ..granted() };
    let evidence = Evidence {
        login: LoginSeen::In(open),
        tunnel: TunnelSeen::Silent { error: None },
        sip: SipSeen::NotTried,
        ..sound()
    };
    let (_, cause, _) = failing(&evidence);
    assert!(cause.contains("own firewall"), "{cause}");
}

#[test]
fn traffic_speaks_for_a_tunnel_whose_far_side_answers_no_test() {
    let silent = || Evidence { tunnel: TunnelSeen::Silent { error: None }, ..sound() };
    assert_eq!(states(&silent().judge()), "hhhhhhh?", "the SIP centre answered through it");
    let mute = || SipSeen::Silent("[2001:db8:c::5]:5060".parse().unwrap());
    assert_eq!(failing(&Evidence { sip: mute(), carried: true, ..silent() }).0, "hhhhhhF-");
    assert_eq!(failing(&Evidence { sip: mute(), ..silent() }).0, "hhhhFh--");
}

#[test]
fn a_firewall_of_our_own_is_told_from_the_routers() {
    let (_, cause, remedy) = failing(&Evidence { tunnel: TunnelSeen::OnlyDirectly(far()), ..sound() });
    assert!(cause.contains("of this box") && remedy.contains("cx6iad"), "{cause} {remedy}");
}

#[test]
fn a_tunnel_that_cannot_be_raised_says_why() {
    let mut evidence = sound();
    evidence.agent.as_mut().unwrap().tunnel_fault = Some("no TUN driver".into());
    assert_eq!(failing(&evidence).1, "no TUN driver");
}

#[test]
fn each_trouble_of_a_lan_has_its_own_words() {
    type BreakIt = fn(&mut LanStatus);
    let broken: [(BreakIt, &str); 7] = [
        (|lan| lan.exists = false, "no such interface"),
        (|lan| lan.up = false, "switched off"),
        (|lan| lan.carrier = false, "no cable"),
        (|lan| lan.address_state = Some(AddressState::Duplicate), "another box"),
        (|lan| lan.fault = Some("the kernel's words".into()), "the kernel's words"),
        (|lan| lan.advertised = None, "not come round"),
        (|lan| lan.address = None, "not come round"),
    ];
    for (break_it, words) in broken {
        let mut evidence = sound();
        break_it(&mut evidence.lans[0].lan);
        let (states, cause, _) = failing(&evidence);
        assert_eq!(states, "hhhFh-h-", "{words}");
        assert!(cause.contains(words), "{cause}");
    }
}

#[test]
fn somebody_has_to_advertise_when_the_agent_does_not() {
    let mut evidence = sound();
    let lan = &mut evidence.lans[0].lan;
    (lan.advertises, lan.advertised) = (false, None);
    let (states, cause, remedy) = failing(&evidence);
    assert_eq!(states, "hhhFh-h-");
    assert!(cause.contains("no_advertise") && remedy.contains("radvd"), "{cause} {remedy}");
    let radvd = OtherRouter {
        address: "fe80::2".parse().unwrap(),
        mac: None,
        routes: true,
        prefixes: vec!["2001:db8:1::/64".parse().unwrap()],
        heard: 1,
    };
    evidence.lans[0].lan.others = vec![radvd.clone()];
    assert!(evidence.judge().good);
    evidence.lans[0].lan.others = vec![OtherRouter { routes: false, ..radvd.clone() }];
    assert!(failing(&evidence).1.contains("no_advertise"), "its prefix leads nowhere");
    let other = OtherRouter { prefixes: vec!["2001:db8:9::/64".parse().unwrap()], ..radvd };
    evidence.lans[0].lan.others.push(other);
    assert!(failing(&evidence).1.contains("another router"), "another prefix comes from somebody else");
}

#[test]
fn another_router_is_named() {
    let mut evidence = sound();
    let rogue = OtherRouter {
        address: "fe80::bad".parse().unwrap(),
        mac: Some("02:00:00:00:0b:ad".into()),
        routes: true,
        prefixes: Vec::new(),
        heard: 1,
    };
    evidence.lans[0].lan.others = vec![OtherRouter { routes: false, ..rogue.clone() }];
    assert!(evidence.judge().good, "one that took itself back is none");
    evidence.lans[0].lan.others = vec![rogue];
    let report = evidence.judge();
    let text = report.to_string();
    assert_eq!(states(&report), "hhhFh-h-");
    assert!(text.contains("fe80::bad (MAC 02:00:00:00:0b:ad)"), "{text}");
    assert!(text.ends_with("Begin with step 4."), "{text}");
}

#[test]
fn without_the_agent_nobody_advertises_and_the_tunnel_is_tried_all_the_same() {
    let evidence = Evidence { agent: None, lans: Vec::new(), sip: SipSeen::NotTried, ..sound() };
    let (states, cause, _) = failing(&evidence);
    assert_eq!(states, "hhhFh-?-");
    assert!(cause.contains("agent does not run"));
}

#[test]
fn no_phone_and_a_full_table_are_different_things() {
    let mut evidence = sound();
    evidence.lans[0].phones = 0;
    assert!(failing(&evidence).1.contains("no phone is plugged in"));
    let mut evidence = sound();
    evidence.agent.as_mut().unwrap().neighbours = Some(neighbours(8, 8));
    let (states, cause, remedy) = failing(&evidence);
    assert_eq!(states, "hhhhhFh-");
    assert!(cause.contains("neighbour table is full (8 of 8 entries)") && remedy.contains("gc_thresh3"));
    evidence.agent.as_mut().unwrap().neighbours = Some(neighbours(7, 8));
    let report = evidence.judge();
    assert!(report.good && report.to_string().contains("nearly full (7 of 8 entries)"));
}

#[test]
fn a_mute_centre_is_not_the_sites_fault_and_an_unknown_one_no_failure() {
    let centre = "[2001:db8:c::5]:5060".parse().unwrap();
    let (seen, _, remedy) = failing(&Evidence { sip: SipSeen::Silent(centre), ..sound() });
    assert_eq!(seen, "hhhhhhF-");
    assert!(remedy.contains("call the operator"));
    let report = Evidence { sip: SipSeen::Nowhere, ..sound() }.judge();
    assert_eq!(states(&report), "hhhhhh??");
    assert!(report.good);
}

#[test]
fn a_report_survives_its_json() {
    let report = sound().judge();
    let json = serde_json::to_string(&report).unwrap();
    assert!(json.contains(r#"{"step":"line","state":"holds","#), "{json}");
    assert_eq!(serde_json::from_str::<Report>(&json).unwrap(), report);
}
