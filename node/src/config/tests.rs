use std::net::Ipv4Addr;

use super::*;

fn parse(text: &str) -> Result<Config, ConfigErrors> {
    Config::parse(text, Some(Path::new("c6.toml")), [])
}

fn errors(text: &str, environment: &[(&str, &str)]) -> Vec<String> {
    let environment = environment.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
    let errors = Config::parse(text, Some(Path::new("c6.toml")), environment).unwrap_err();
    errors.iter().map(ToString::to_string).collect()
}

fn with_environment(name: &str, value: &str) -> Config {
    Config::parse("", None, [(name.to_owned(), value.to_owned())]).unwrap()
}

#[test]
fn the_default_file_is_the_defaults() {
    assert_eq!(parse(default_toml()).unwrap(), Config::default());
    assert_eq!(parse("").unwrap(), Config::default());
}

#[test]
fn the_default_file_documents_every_key() {
    let (_, _, known) = read("", None, []);
    assert!(known.len() > 40);
    let text = default_toml();
    for (section, key) in known {
        let start = text.find(&format!("[{section}]\n")).unwrap_or_else(|| panic!("no section {section}"));
        let body = &text[start + 1..];
        let body = &body[..body.find("\n[").unwrap_or(body.len())];
        let lines: Vec<&str> = body.lines().collect();
        let at = lines
            .iter()
            .position(|line| line.trim_start_matches("# ").starts_with(&format!("{key} = ")))
            .unwrap_or_else(|| panic!("{section}.{key} is not in the default file"));
        // Its comment stands above it, or above the neighbours that it is explained with.
        let comment = lines[..at].iter().rev().find(|line| line.starts_with("# ") || line.starts_with('['));
        assert!(comment.is_some_and(|line| line.starts_with("# ")), "{section}.{key} has no comment");
    }
}

#[test]
fn derived_keys_in_the_default_file_are_right_too() {
    let text =
        default_toml().replace("\n# admin_socket", "\nadmin_socket").replace("\n# key_file", "\nkey_file");
    assert_eq!(parse(&text.replace("\n# url", "\nurl")).unwrap(), Config::default());
}

#[test]
fn derived_keys_follow_the_data_directory() {
    let config = parse("[node]\ndata_dir = \"/srv/c6\"").unwrap();
    assert_eq!(config.node.key_file, Path::new("/srv/c6/key"));
    assert_eq!(config.store.url.sqlite_file(), Some(Path::new("/srv/c6/centrex6.db")));
}

#[test]
fn an_unknown_key_is_refused_with_the_nearest() {
    assert_eq!(
        errors("[registrar_proxy]\nlisten = [\"udp:[::]:5060\"]\nmax_binding_per_line = 3\n", &[]),
        [
            "c6.toml:3:1: unknown key \"max_binding_per_line\" in [registrar_proxy]; did you mean \"max_bindings_per_line\"?"
        ]
    );
    // A right key in the wrong section is pointed to its own.
    assert_eq!(
        errors("[sip]\nlevel = \"debug\"\n", &[]),
        ["c6.toml:2:1: unknown key \"level\" in [sip]; did you mean \"log.level\"?"]
    );
    assert_eq!(
        errors("[translater]\nmax_calls = 1\n", &[]),
        ["c6.toml:1:2: unknown section [translater]; did you mean \"translator\"?"]
    );
}

#[test]
fn all_bad_values_are_told_at_once_with_their_places() {
    let text = "[sip]\nt1_ms = 500\nt2_ms = 400\n\n[registrar_proxy]\n  listen = [\"sctp:[::]:5060\"]\nmax_expires_s = \"1h\"\n\
                [log]\nlevel = \"a=b=c\"\nmask_numbers = 1\n";
    let errors = errors(text, &[]);
    let expected = [
        "c6.toml:3:9: sip.t2_ms: must not be shorter than t1_ms",
        "c6.toml:6:12: registrar_proxy.listen: transport \"sctp\" is not served: expected udp, tcp, tls, ws or wss",
        "c6.toml:7:17: registrar_proxy.max_expires_s: expected an integer, found string",
        "c6.toml:9:9: log.level: ",
        "c6.toml:10:16: log.mask_numbers: expected true or false, found integer",
    ];
    assert_eq!(errors.len(), expected.len(), "{errors:#?}");
    for (error, expected) in errors.iter().zip(expected) {
        assert!(error.starts_with(expected), "{error}");
    }
}

#[test]
fn out_of_range_values_name_the_range() {
    for value in ["0", "1000001", "-1", "99999999999999999999999"] {
        assert_eq!(
            errors(&format!("[translator]\nmax_calls = {value}\n"), &[]),
            ["c6.toml:2:13: translator.max_calls: must lie between 1 and 1000000"]
        );
    }
}

#[test]
fn syntax_errors_have_a_place_and_hide_what_follows_from_them() {
    let errors = errors("[node]\nname = \n[sipp]\n", &[]);
    assert_eq!(errors.len(), 1, "{errors:#?}");
    assert!(errors[0].starts_with("c6.toml:2:"), "{}", errors[0]);
    let errors = self::errors("name = \"x\"\n", &[]);
    assert!(errors[0].contains("outside any section"), "{}", errors[0]);
}

#[test]
fn the_environment_overrides_the_file() {
    let overrides = [
        ("CENTREX6__NODE__NAME", "7"),
        ("CENTREX6__NODE__WORKERS", "3"),
        ("CENTREX6__LOG__MASK_NUMBERS", "true"),
        ("CENTREX6__REGISTRAR_PROXY__LISTEN", "udp:[::1]:0,tcp:[::1]:0"),
        ("PATH", "/bin"),
    ];
    let environment = overrides.map(|(name, value)| (name.to_owned(), value.to_owned()));
    let config = Config::parse("[node]\nname = \"file\"\n", None, environment).unwrap();
    assert_eq!(config.node.name, "7");
    assert_eq!(config.node.workers, 3);
    assert!(config.log.mask_numbers);
    assert_eq!(config.registrar_proxy.listen.len(), 2);
    let list = with_environment("CENTREX6__NODE__ROLES", "[\"translator\"]");
    assert_eq!(list.node.roles, [Role::Translator]);
}

#[test]
fn bad_overrides_are_named() {
    assert_eq!(
        errors("", &[("CENTREX6__SIP__T1_MS", "soon")])[0].split(": ").take(2).collect::<Vec<_>>(),
        ["environment variable CENTREX6__SIP__T1_MS", "sip.t1_ms"]
    );
    assert_eq!(
        errors("", &[("CENTREX6__LOG__LEVLE", "debug")]),
        [
            "environment variable CENTREX6__LOG__LEVLE: unknown key \"levle\" in [log]; did you mean \"level\"?"
        ]
    );
    assert_eq!(
        errors("", &[("CENTREX6__LOGG__LEVEL", "debug")]),
        ["environment variable CENTREX6__LOGG__LEVEL: unknown section [logg]; did you mean \"log\"?"]
    );
    assert!(errors("", &[("CENTREX6__LOG", "debug")])[0].contains("CENTREX6__SECTION__KEY"));
}

#[test]
fn a_missing_file_is_named() {
    let error = Config::load(Some(Path::new("/nonexistent/c6.toml"))).unwrap_err();
    assert!(error.to_string().starts_with("/nonexistent/c6.toml: cannot be read"), "{error}");
}

#[test]
fn tunnel_roles_say_what_they_lack() {
    assert_eq!(
        errors("[node]\nroles = [\"tunnel-broker\"]\n[tunnel_broker]\nservers = []\n", &[]),
        [
            "c6.toml:4:11: tunnel_broker.servers: this process is no tunnel server: name the control_listen addresses of the tunnel \
             servers here, or add \"tunnel-server\" to node.roles"
        ]
    );
    let alone = errors("[node]\nroles = [\"tunnel-server\"]\n[tunnel_server]\naddress = \"0.0.0.0\"\n", &[]);
    assert_eq!(alone.len(), 2, "{alone:#?}");
    assert!(alone[0].contains("tunnel_server.control_listen: no broker can give orders"), "{alone:#?}");
    assert!(
        alone[1].contains("tunnel_server.address: must be an IPv4 address of this machine"),
        "{alone:#?}"
    );
    let both = "[node]\nroles = [\"tunnel-broker\", \"tunnel-server\"]\n";
    let lacking = errors(both, &[]);
    assert_eq!(lacking.len(), 1, "{lacking:#?}");
    assert!(lacking[0].contains("tunnel_server.address: must be set on a tunnel server"), "{lacking:#?}");
    let config = parse(&format!("{both}[tunnel_server]\naddress = \"192.0.2.1\"\n")).unwrap();
    assert_eq!(config.tunnel_server.address, Some(Ipv4Addr::new(192, 0, 2, 1)));
}

#[test]
fn tls_needs_its_files_and_something_is_served() {
    let lacking = errors("[tunnel_broker]\ntls_listen = [\"0.0.0.0:20201\"]\ntls_key = \"k.pem\"\n", &[]);
    assert_eq!(lacking.len(), 1, "{lacking:#?}");
    assert!(lacking[0].contains("tunnel_broker.tls_certificate: must name a file"), "{lacking:#?}");
    let nothing = errors("[tunnel_broker]\nlisten = \"\"\n", &[]);
    assert_eq!(
        nothing,
        ["c6.toml:2:10: tunnel_broker.listen: must name an address when tls_listen names none"]
    );
    let tls = "[tunnel_broker]\nlisten = \"\"\ntls_listen = [\"0.0.0.0:0\"]\ntls_key = \"k\"\ntls_certificate = \"c\"\n";
    assert_eq!(parse(tls).unwrap().tunnel_broker.listen, None);
}

#[test]
fn listeners_with_tls_need_a_certificate() {
    let lacking = errors(
        "[registrar_proxy]\nlisten = [\"tls:[::]:5061\"]\n[tls]\nkey = \"k.pem\"\nmin_version = \"1.1\"\n",
        &[],
    );
    assert_eq!(
        lacking,
        [
            "c6.toml:2:10: registrar_proxy.listen: a listener with TLS needs tls.certificate and tls.key",
            "c6.toml:4:7: tls.key: needs its certificate: set certificate",
            "c6.toml:5:15: tls.min_version: unknown TLS version \"1.1\": expected \"1.2\" or \"1.3\"",
        ]
    );
    let whole = "[tls]\ncertificate = \"c.pem\"\nkey = \"k.pem\"\n[translator]\nlisten_ipv4 = [\"tls:0.0.0.0:5061\"]\n";
    assert_eq!(parse(whole).unwrap().tls.certificate.as_deref(), Some(Path::new("c.pem")));
}
