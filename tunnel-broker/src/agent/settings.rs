//! What an installer tells the agent.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

use schema::secret::Password;

use crate::dtcp;

/// All that the agent is told.
#[derive(Debug, Clone)]
pub struct Settings {
    /// The tunnel broker.
    pub broker: Broker,
    /// The site's account.
    pub user: String,
    /// Its password.
    pub password: Password,
    /// The LANs on which the phones are.
    pub lans: Vec<Lan>,
    /// Whether the agent sends router advertisements; otherwise another program on the box does.
    pub advertise: bool,
    /// How many entries the neighbour table can hold, where the kernel does not tell.
    pub neighbour_capacity: Option<u32>,
    /// Where the running agent tells how it is.
    pub status_socket: PathBuf,
    /// The MTU of the tunnel, bytes.
    pub mtu: u16,
}

/// Where the broker is and how to speak to it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Broker {
    /// Its name or IPv4 address.
    pub host: String,
    /// Its TCP port.
    pub port: u16,
    /// Whom to believe when it proves who it is; plain DTCP when nothing is given.
    pub tls: Option<Trust>,
}

/// Whose word proves that the broker is the broker.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Trust {
    /// The authorities that the system trusts.
    System,
    /// Those in this PEM file, and no others.
    File(PathBuf),
}

/// A LAN: the interface and the number of its /64 in the site's prefix.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lan {
    /// The interface's name.
    pub interface: String,
    /// The VLAN's number; 0 for an untagged LAN.
    pub vlan: u16,
}

/// A value of the command line or the file that cannot be.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum BadSetting {
    /// A broker must be `HOST` or `HOST:PORT`.
    #[error(
        "broker {0:?} cannot be: expected HOST or HOST:PORT; DTCP is spoken over IPv4, so an address is an IPv4 address"
    )]
    Broker(String),
    /// A LAN must be `INTERFACE` or `INTERFACE=VLAN`.
    #[error("LAN {0:?} cannot be: expected INTERFACE or INTERFACE=VLAN, as in eth1 or br-lan=24")]
    Lan(String),
    /// No LAN was given, or one twice.
    #[error("LANs: {0}")]
    Lans(&'static str),
    /// A user name has 1 to 64 printable ASCII characters and no blank.
    #[error("user {0:?} cannot be: a user name has 1 to 64 printable ASCII characters and no blank")]
    User(String),
    /// The MTU is out of its bounds.
    #[error("MTU {0} cannot be: expected 1280 to 1480 bytes")]
    Mtu(u16),
}

impl Broker {
    /// Reads `HOST[:PORT]`.
    ///
    /// # Errors
    /// [`BadSetting::Broker`].
    pub fn parse(word: &str, tls: Option<Trust>) -> Result<Broker, BadSetting> {
        let bad = || BadSetting::Broker(word.to_owned());
        let default = if tls.is_some() { TLS_PORT } else { dtcp::PORT };
        let (host, port) = match word.split_once(':') {
            Some((host, port)) => (host, port.parse().map_err(|_| bad())?),
            None => (word, default),
        };
        let is_name = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_');
        if host.is_empty() || host.len() > 253 || !host.chars().all(is_name) || port == 0 {
            return Err(bad());
        }
        Ok(Broker { host: host.to_owned(), port, tls })
    }
}

impl Settings {
    /// Checks what belongs together.
    ///
    /// # Errors
    /// [`BadSetting`] says what cannot be.
    pub fn check(&self) -> Result<(), BadSetting> {
        if self.user.is_empty()
            || self.user.len() > 64
            || !self.user.bytes().all(|byte| byte.is_ascii_graphic())
        {
            return Err(BadSetting::User(self.user.clone()));
        }
        if !(crate::tunnel::MIN_MTU..=1480).contains(&self.mtu) {
            return Err(BadSetting::Mtu(self.mtu));
        }
        if self.lans.is_empty() {
            return Err(BadSetting::Lans("at least one is needed, as in --lan eth1"));
        }
        for (index, lan) in self.lans.iter().enumerate() {
            let mut others = self.lans.iter().skip(index + 1);
            if others.any(|other| other.interface == lan.interface || other.vlan == lan.vlan) {
                return Err(BadSetting::Lans(
                    "two have the same interface or the same VLAN number: give each its own, as in --lan eth1 --lan eth2=24",
                ));
            }
        }
        Ok(())
    }
}

impl FromStr for Lan {
    type Err = BadSetting;

    /// Reads `INTERFACE` or `INTERFACE=VLAN`. Without a number, `eth1.24` is VLAN 24 and any other name VLAN 0.
    fn from_str(word: &str) -> Result<Lan, BadSetting> {
        let bad = || BadSetting::Lan(word.to_owned());
        let (interface, vlan) = match word.split_once('=') {
            Some((interface, vlan)) => (interface, vlan.parse().map_err(|_| bad())?),
            None => {
                let behind_dot = word.rsplit_once('.').and_then(|(_, number)| number.parse().ok());
                (word, behind_dot.unwrap_or(0))
            }
        };
        let is_name = !interface.is_empty()
            && interface.len() < libc::IFNAMSIZ
            && interface.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'/');
        if !is_name || vlan > MAX_VLAN {
            return Err(bad());
        }
        Ok(Lan { interface: interface.to_owned(), vlan })
    }
}

impl fmt::Display for Lan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} (VLAN {})", self.interface, self.vlan)
    }
}

impl fmt::Display for Broker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let tls = if self.tls.is_some() { " (TLS)" } else { "" };
        write!(f, "{}:{}{tls}", self.host, self.port)
    }
}

/// The port of DTCP inside TLS: ours, nobody has registered one.
pub const TLS_PORT: u16 = 20201;

/// IEEE 802.1Q.
const MAX_VLAN: u16 = 4094;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lan_takes_its_number_from_its_name_or_is_told() {
        let lan = |word: &str| word.parse::<Lan>().map(|lan| (lan.interface, lan.vlan));
        assert_eq!(lan("eth1"), Ok(("eth1".into(), 0)));
        assert_eq!(lan("eth1.24"), Ok(("eth1.24".into(), 24)));
        assert_eq!(lan("br-lan=24"), Ok(("br-lan".into(), 24)));
        assert_eq!(lan("eth1.24=7"), Ok(("eth1.24".into(), 7)));
        assert_eq!(lan("eth1.x"), Ok(("eth1.x".into(), 0)));
        for word in ["", "=1", "eth1=", "eth1=x", "eth1=4095", "a/b", "a b", "longer-than-names-are"] {
            assert_eq!(lan(word), Err(BadSetting::Lan(word.into())), "{word}");
        }
    }

    #[test]
    fn a_broker_has_a_port_of_its_own_for_tls() {
        let port = |word: &str, tls| Broker::parse(word, tls).map(|broker| broker.port);
        assert_eq!(port("broker.example.net", None), Ok(20200));
        assert_eq!(port("broker.example.net", Some(Trust::System)), Ok(20201));
        assert_eq!(port("192.0.2.1:7", Some(Trust::System)), Ok(7));
        for word in ["", ":1", "host:", "host:x", "host:0", "2001:db8::1", "[2001:db8::1]:20200", "a b"] {
            assert!(port(word, None).is_err(), "{word}");
        }
    }

    #[test]
    fn what_belongs_together_is_checked() {
        let settings = |user: &str, lans: &[&str], mtu| Settings {
            broker: Broker::parse("broker", None).unwrap(),
            user: user.into(),
            password: Password::new("secret"),
            lans: lans.iter().map(|lan| lan.parse().unwrap()).collect(),
            advertise: true,
            neighbour_capacity: None,
            status_socket: PathBuf::new(),
            mtu,
        };
        assert_eq!(settings("s1", &["eth1", "eth1.24"], 1280).check(), Ok(()));
        assert!(settings("s1", &[], 1280).check().is_err());
        assert!(settings("s1", &["eth1", "eth2"], 1280).check().is_err(), "both would be VLAN 0");
        assert!(settings("s1", &["eth1", "eth1=2"], 1280).check().is_err());
        assert!(settings("s 1", &["eth1"], 1280).check().is_err());
        assert!(settings("s1", &["eth1"], 1500).check().is_err());
        assert!(!format!("{:?}", settings("s1", &["eth1"], 1280)).contains("secret"));
    }
}
