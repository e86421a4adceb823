//! What an installer is told.

use std::net::UdpSocket;
use std::sync::Arc;

use rcgen::generate_simple_self_signed;
use rustls::ServerConfig;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use schema::secret::Password;
use tunnel_broker::agent::check::{Finding, Report, State, Step};
use tunnel_broker::agent::{self, Trust};
use tunnel_broker::plane::DataPlane;

use super::broker::{Broker, Script};
use super::dorm::{Dorm, check, wait_for_address};
use crate::need_root;
use crate::world::{CENTRE, PATIENCE, SERVER, ping};

fn finding(report: &Report, step: Step) -> &Finding {
    report.steps.iter().find(|finding| finding.step == step).unwrap()
}

fn state(report: &Report, step: Step) -> State {
    finding(report, step).state
}

#[test]
fn a_sound_dorm_passes_and_a_dead_tunnel_is_named() {
    need_root!();
    let dorm = Dorm::new();
    let settings = dorm.settings();
    let _agent = dorm.start(&settings);
    let phone = dorm.phone_address(1);
    wait_for_address(&dorm.phone, "eth0", phone);
    let centre = dorm.centre.namespace.run(|| UdpSocket::bind(format!("[{CENTRE}]:5060")).unwrap());
    for answer in [
        "SIP/2.0 200 OK\r\nCSeq: 1 REGISTER\r\nContact: <sip:101@phone>\r\n\r\n",
        "SIP/2.0 200 OK\r\nCSeq: 1 INVITE\r\nCall-ID: a call\r\n\r\n",
    ] {
        centre.send_to(answer.as_bytes(), (phone, 5060)).unwrap();
    }
    ping(&dorm.phone, &phone.to_string(), CENTRE, b"both have passed before this");
    centre.set_read_timeout(Some(PATIENCE)).unwrap();
    let answers = std::thread::spawn(move || {
        let mut bytes = [0; 2000];
        let (len, from) = centre.recv_from(&mut bytes).unwrap();
        let request = String::from_utf8(bytes[..len].to_vec()).unwrap();
        let answer = request.replacen(request.lines().next().unwrap(), "SIP/2.0 200 OK", 1);
        centre.send_to(answer.as_bytes(), from).unwrap();
    });
    let report = check(&dorm, &settings);
    answers.join().unwrap();
    let states: Vec<State> = report.steps.iter().map(|finding| finding.state).collect();
    assert_eq!(states, [State::Holds; 8], "{report}");
    assert!(finding(&report, Step::Registration).seen.contains("let 1 phones in"), "{report}");
    assert!(finding(&report, Step::Calls).seen.contains("1 calls"), "{report}");
    assert!(report.good && report.agent_running);
    assert!(finding(&report, Step::Addresses).seen.starts_with("1 device"), "{report}");

    // The tunnel server forgets the site; the broker does not know.
    dorm.centre.plane.remove(dorm.site.tunnel()).unwrap();
    let report = check(&dorm, &settings);
    let tunnel = finding(&report, Step::Tunnel);
    assert_eq!(tunnel.state, State::Fails, "{report}");
    assert!(tunnel.cause.as_deref().unwrap().contains("protocol 41"), "{report}");
    assert_eq!(state(&report, Step::Registration), State::NotTried);
}

#[test]
fn without_an_agent_the_check_logs_in_itself_and_leaves_nothing_behind() {
    need_root!();
    let dorm = Dorm::new();
    let settings = dorm.settings();
    let report = check(&dorm, &settings);
    assert!(!report.good && !report.agent_running);
    for step in [Step::Line, Step::Login, Step::Prefix, Step::Tunnel] {
        assert_eq!(state(&report, step), State::Holds, "{report}");
    }
    assert_eq!(state(&report, Step::Advertisement), State::Fails);
    dorm.broker.wait_for("quit");
    let device = dorm.site.namespace.run(|| nix::net::if_::if_nametoindex("cx6iad").is_ok());
    assert!(!device);
}

#[test]
fn a_wrong_password_is_told_from_a_broker_that_is_away() {
    need_root!();
    let dorm = Dorm::new();
    let mut settings = dorm.settings();
    settings.password = Password::new("wrong");
    let report = check(&dorm, &settings);
    let login = finding(&report, Step::Login);
    assert_eq!(login.state, State::Fails);
    assert!(login.cause.as_deref().unwrap().contains("user name and password"), "{report}");
    assert_eq!(state(&report, Step::Prefix), State::NotTried);
    settings.broker = agent::Broker::parse(&format!("{SERVER}:9"), None).unwrap();
    let report = check(&dorm, &settings);
    let login = finding(&report, Step::Login);
    assert!(login.remedy.as_deref().unwrap().contains("no broker listens"), "{report}");
    settings.broker = agent::Broker::parse("203.0.113.77", None).unwrap();
    let report = check(&dorm, &settings);
    assert_eq!(state(&report, Step::Line), State::Fails, "{report}");
}

#[test]
fn over_tls_the_broker_proves_itself() {
    need_root!();
    let Dorm { centre, site, broker, phone } = Dorm::new();
    drop(broker);
    let certified = generate_simple_self_signed([SERVER.to_string()]).unwrap();
    let key = PrivateKeyDer::try_from(certified.signing_key.serialize_der()).unwrap();
    let certificate = CertificateDer::from(certified.cert.der().to_vec());
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![certificate], key)
        .unwrap();
    let script = Script { prefix: "2001:db8:1::/48".into(), seen_as: None, centre: String::new() };
    let broker = Broker::start(&centre.namespace, script, Some(Arc::new(config)));
    let dorm = Dorm { centre, site, broker, phone };

    let mut settings = dorm.settings();
    let file = settings.status_socket.with_extension("pem");
    std::fs::write(&file, certified.cert.pem()).unwrap();
    let address = format!("{SERVER}:{}", tunnel_broker::dtcp::PORT);
    settings.broker = agent::Broker::parse(&address, Some(Trust::File(file.clone()))).unwrap();
    let report = check(&dorm, &settings);
    assert_eq!(state(&report, Step::Login), State::Holds, "{report}");

    let other = generate_simple_self_signed([SERVER.to_string()]).unwrap();
    std::fs::write(&file, other.cert.pem()).unwrap();
    let report = check(&dorm, &settings);
    std::fs::remove_file(&file).unwrap();
    let login = finding(&report, Step::Login);
    assert_eq!(login.state, State::Fails, "{report}");
    assert!(login.cause.as_deref().unwrap().contains("does not prove that it is"), "{report}");
}
