//! The demo's stage: the platform on an embedded store, two dorms of six phones, and a gateway.

use std::net::{IpAddr, SocketAddr};

use anyhow::Context;
use node::config::Config;
use node::listener::Listener;
use schema::{CallQuery, CallRecord};
use serde_json::Value;
use tempfile::TempDir;
use user_agent::{Gateway, GatewayConfig, MediaOptions, Phone, PhoneConfig};

use super::narrator::Narrator;
use super::scene::Scene;
use super::{DemoArgs, bracketed};
use crate::operation::{Office, Operation, Reply};
use crate::platform::Platform;

/// Everything that plays along.
pub(super) struct Stage {
    platform: Platform,
    folder: TempDir,
    /// Six phones each, extensions 101 to 106.
    dorms: Vec<Vec<Phone>>,
    gateway: Gateway,
    spare: Spare,
    proxy: SocketAddr,
}

/// A line without a phone, for the user's own.
struct Spare {
    auth_user: String,
    password: String,
}

/// The dorms' codes and domains.
const DORMS: [(&str, &str, &str); 2] =
    [("Sakura", "8001", "s001.example.net"), ("Ume", "8002", "s002.example.net")];
/// Phones in each dorm.
const PHONES: usize = 6;
/// The number that rings the first phone of the first dorm.
pub(super) const DID: &str = "+81312340101";

impl Stage {
    pub(super) async fn set(args: &DemoArgs, narrator: &Narrator) -> anyhow::Result<Stage> {
        let folder = tempfile::tempdir().context("cannot make a temporary folder")?;
        let platform = Platform::start(&config(args, &folder)).await?;
        let proxy = platform.proxy_address().context("the proxy does not listen")?;
        let office = platform.office();
        let gateway_address = SocketAddr::from((args.trunk_address, 0));
        let trunk_side = platform.trunk_address().context("the translator does not listen on IPv4")?;
        let media = MediaOptions { packets: Some(args.packets), ..MediaOptions::default() };
        let gateway = Gateway::bind(GatewayConfig {
            media: media.clone(),
            ..GatewayConfig::new(gateway_address, trunk_side)
        })?;
        let prefix = format!("{}/128", args.address);
        let mut dorms = Vec::new();
        for (name, code, domain) in DORMS {
            let mut site = vec!["site", "add", "--name", name, "--code", code, "--domain", domain];
            if args.address.is_loopback() {
                site.extend(["--prefix", &prefix]);
            }
            operate(&office, &site).await?;
            let mut phones = Vec::new();
            for extension in 101..101 + PHONES {
                let Credentials { auth_user, password } =
                    add_line(&office, code, &extension.to_string()).await?;
                let local = SocketAddr::from((args.address, 0));
                let config = PhoneConfig::new(local, proxy, &extension.to_string(), domain, &password);
                phones.push(Phone::bind(PhoneConfig { auth_user, media: media.clone(), ..config })?);
            }
            dorms.push(phones);
        }
        let gateway_listener = Listener::udp(gateway.local_addr()).to_string();
        operate(&office, &["trunk", "add", "--name", "carrier", "--gateway", &gateway_listener]).await?;
        operate(&office, &["route", "add", "--trunk", "carrier"]).await?;
        operate(&office, &["number", "add", DID, "--line", "s001-101"]).await?;
        let Credentials { auth_user, password } = add_line(&office, DORMS[0].1, "190").await?;
        let stage = Stage { platform, folder, dorms, gateway, spare: Spare { auth_user, password }, proxy };
        narrator.step("registering twelve IPv6 phones with digest authentication");
        for phone in stage.dorms.iter().flatten() {
            phone.register().await.with_context(|| format!("{} could not register", phone.aor()))?;
        }
        Ok(stage)
    }

    /// A phone by its dorm (0 or 1) and its place in it (0 for extension 101).
    pub(super) fn phone(&self, dorm: usize, place: usize) -> &Phone {
        &self.dorms[dorm][place]
    }

    pub(super) fn gateway(&self) -> &Gateway {
        &self.gateway
    }

    /// What is dialled to reach a phone from another dorm.
    pub(super) fn full_extension(&self, dorm: usize, place: usize) -> String {
        format!("{}{}", DORMS[dorm].1, self.phone(dorm, place).user())
    }

    pub(super) fn describe(&self, scene: Scene) -> String {
        scene.description(self)
    }

    /// How many phones the registrar knows, as it says itself.
    pub(super) fn registered(&self) -> usize {
        self.platform.registered_lines()
    }

    /// Every call record, the newest first.
    pub(super) async fn call_records(&self) -> anyhow::Result<Vec<CallRecord>> {
        Ok(self.platform.office().store.call_records(&CallQuery::default()).await?)
    }

    /// What the user needs for a phone of their own.
    pub(super) fn invitation(&self) -> String {
        let Spare { auth_user, password } = &self.spare;
        let proxy = format!("{}:{}", bracketed(self.proxy.ip()), self.proxy.port());
        format!(
            "\nThe platform stays up. Set a SIP phone of your own (IPv6, UDP or TCP) to:\n\n  \
             registrar and outbound proxy  {proxy}\n  domain                        {}\n  \
             user (extension)              190\n  authentication user           {auth_user}\n  \
             password                      {password}\n\n\
             Then dial 101 to 106 (this dorm), {}101 (the other dorm) or any number, like 0312345678 (the gateway answers).\n\
             The command line works too, in another terminal:\n\n  \
             CENTREX6__NODE__ADMIN_SOCKET={} centrex6 call list\n\nCtrl-C ends it.",
            DORMS[0].2,
            DORMS[1].1,
            self.folder.path().join(SOCKET).display(),
        )
    }

    pub(super) async fn close(self) -> anyhow::Result<()> {
        for phone in self.dorms.iter().flatten() {
            phone.hangup_all().await;
        }
        self.gateway.hangup_all().await;
        self.platform.stop().await
    }
}

struct Credentials {
    auth_user: String,
    password: String,
}

async fn add_line(office: &Office, site: &str, extension: &str) -> anyhow::Result<Credentials> {
    let item = operate(office, &["line", "add", "--site", site, "--extension", extension]).await?;
    let field = |name: &str| item.get(name).and_then(Value::as_str).map(str::to_owned);
    let missing = || format!("the new line {extension} has no credentials");
    Ok(Credentials {
        auth_user: field("auth_user").with_context(missing)?,
        password: field("password").with_context(missing)?,
    })
}

/// Carries out what the command line would.
async fn operate(office: &Office, words: &[&str]) -> anyhow::Result<Value> {
    let operation = Operation::from_words(words)?;
    match operation.execute(office).await.with_context(|| words.join(" "))? {
        Reply::Done { item, .. } => Ok(item),
        other => Ok(other.json()),
    }
}

fn config(args: &DemoArgs, folder: &TempDir) -> Config {
    let mut config = Config::default();
    config.node.name = "demo".to_owned();
    config.node.data_dir = folder.path().to_owned();
    config.node.key_file = folder.path().join("key");
    config.node.admin_socket = folder.path().join(SOCKET);
    config.node.admin_listen = SocketAddr::from(([127, 0, 0, 1], 0));
    config.store.url = node::config::StoreUrl::sqlite_in(folder.path());
    let (v6, v4) = (IpAddr::from(args.address), IpAddr::from(args.trunk_address));
    let listen = SocketAddr::new(v6, args.port);
    config.registrar_proxy.listen = vec![Listener::udp(listen), Listener::tcp(listen)];
    config.translator.listen_ipv6 = vec![Listener::udp(SocketAddr::new(v6, 0))];
    config.translator.listen_ipv4 = vec![Listener::udp(SocketAddr::new(v4, 0))];
    config.translator.media_ipv6 = Some(args.address);
    config.translator.media_ipv4 = Some(args.trunk_address);
    config
}

/// The admin socket's file in the demo's folder.
const SOCKET: &str = "admin.sock";
