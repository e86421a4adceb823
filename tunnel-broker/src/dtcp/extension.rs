//! Our additions to DTCP. A session with a tunnel may say `centre` and `report`; an old broker answers that it knows no such
//! command, and an old client never says them.

use std::fmt;
use std::net::{Ipv6Addr, SocketAddrV6};

/// What a site is told of the centre, in answer to `centre`: `sip=[2001:db8:c::5]:5060 dns=2001:db8:c::53,2001:db8:c::54`. Each
/// part may be absent.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Centre {
    /// Where SIP is served.
    pub sip: Option<SocketAddrV6>,
    /// Name servers for the site's hosts.
    pub dns: Vec<Ipv6Addr>,
}

impl Centre {
    /// Reads the words behind `+OK`. What is unknown or not understood is passed over.
    pub fn parse(words: &str) -> Centre {
        let mut centre = Centre::default();
        for (key, value) in words.split_ascii_whitespace().filter_map(|word| word.split_once('=')) {
            match key {
                "sip" => centre.sip = value.parse().ok(),
                "dns" => {
                    centre.dns =
                        value.split(',').filter_map(|name| name.parse().ok()).take(Self::MAX_DNS).collect();
                }
                _ => {}
            }
        }
        centre
    }

    /// Name servers that are read at most.
    pub const MAX_DNS: usize = 4;
}

/// The words behind `+OK`.
impl fmt::Display for Centre {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let sip = self.sip.map(|sip| format!("sip={sip}"));
        let dns = (!self.dns.is_empty()).then(|| {
            let names: Vec<String> = self.dns.iter().map(Ipv6Addr::to_string).collect();
            format!("dns={}", names.join(","))
        });
        f.write_str(&sip.into_iter().chain(dns).collect::<Vec<_>>().join(" "))
    }
}

/// How full a site's neighbour table is: `report neighbours=180 capacity=1024`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Report {
    /// Entries in the IAD's table of IPv6 neighbours.
    pub neighbours: u32,
    /// Entries that it holds at most; 0 when the IAD does not know.
    pub capacity: u32,
}

impl Report {
    /// Reads the words behind `report`. Unknown keys are passed over; `None` without a number of neighbours.
    pub(super) fn parse<'w>(words: impl Iterator<Item = &'w [u8]>) -> Option<Report> {
        let (mut neighbours, mut capacity) = (None, 0);
        for word in words {
            let (key, value) = std::str::from_utf8(word).ok()?.split_once('=')?;
            match key {
                "neighbours" => neighbours = Some(value.parse().ok()?),
                "capacity" => capacity = value.parse().ok()?,
                _ => {}
            }
        }
        Some(Report { neighbours: neighbours?, capacity })
    }
}

/// The whole line of the client, without its end.
impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "report neighbours={} capacity={}", self.neighbours, self.capacity)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_centre_is_read_as_it_is_written() {
        let whole = Centre {
            sip: Some("[2001:db8:c::5]:5060".parse().unwrap()),
            dns: vec!["2001:db8:c::53".parse().unwrap(), "2001:db8:c::54".parse().unwrap()],
        };
        assert_eq!(whole.to_string(), "sip=[2001:db8:c::5]:5060 dns=2001:db8:c::53,2001:db8:c::54");
        for centre in [
            Centre { dns: vec![], ..whole.clone() },
            Centre { sip: None, ..whole.clone() },
            Centre::default(),
            whole,
        ] {
            assert_eq!(Centre::parse(&centre.to_string()), centre);
        }
    }

    #[test]
    fn what_is_odd_in_a_reply_is_passed_over() {
        let centre = Centre::parse("ntp=2001:db8::1 sip=nowhere dns=2001:db8::53,x,,::1 word");
        assert_eq!(
            centre,
            Centre { sip: None, dns: vec!["2001:db8::53".parse().unwrap(), Ipv6Addr::LOCALHOST] }
        );
        assert_eq!(Centre::parse(&format!("dns={}", ["::1"; 99].join(","))).dns.len(), Centre::MAX_DNS);
    }

    #[test]
    fn a_report_needs_its_number_of_neighbours() {
        let parse = |line: &str| Report::parse(line.as_bytes().split(|&byte| byte == b' ').skip(1));
        let report = Report { neighbours: 180, capacity: 1024 };
        assert_eq!(parse(&report.to_string()), Some(report));
        assert_eq!(parse("report neighbours=7"), Some(Report { neighbours: 7, capacity: 0 }));
        assert_eq!(
            parse("report colour=red capacity=9 neighbours=7"),
            Some(Report { neighbours: 7, capacity: 9 })
        );
        for line in [
            "report",
            "report ",
            "report capacity=9",
            "report neighbours=-1",
            "report neighbours=99999999999",
            "report neighbours=7 capacity=many",
            "report neighbours=7  capacity=9",
            "report neighbours",
        ] {
            assert_eq!(parse(line), None, "{line}");
        }
    }
}
