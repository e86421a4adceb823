//! Pictures for tests.

use std::net::{Ipv6Addr, SocketAddrV6};

use schema::{LineId, SiteId};

use crate::picture::{LeasePicture, LinePicture, PhonePicture, Place, SitePicture, TunnelPicture};

/// A site with a live tunnel and `phones` registered phones, in `2001:db8:<id>::/48`.
pub(crate) fn site(id: SiteId, code: &str, phones: u16) -> SitePicture {
    let lease = LeasePicture {
        up: true,
        client: "203.0.113.7".parse().ok(),
        server: "192.0.2.1".parse().ok(),
        changed_at: 0,
        takeovers: 0,
        previous_client: None,
        report: None,
    };
    SitePicture {
        id,
        code: code.to_owned(),
        name: format!("Dorm {code}"),
        prefix: format!("2001:db8:{:x}::/48", id.0).parse().ok(),
        tunnel: Some(TunnelPicture { account: format!("s{code}"), lease: Some(lease) }),
        iad: Some(address(id, 1)),
        table: None,
        phones: (0..phones).map(|phone| phone_of(id, phone)).collect(),
        lines: Vec::new(),
    }
}

/// A registered phone, numbered from 0.
pub(crate) fn phone_of(site: SiteId, phone: u16) -> PhonePicture {
    PhonePicture {
        name: (101 + phone).to_string(),
        line: Some(LineId(site.0 * 1000 + i64::from(phone))),
        address: Some(SocketAddrV6::new(address(site, phone + 0x100), 5060, 0, 0)),
        takes_udp: true,
        registered_until: Some(i64::MAX),
    }
}

/// An address at a site.
pub(crate) fn address(site: SiteId, host: u16) -> Ipv6Addr {
    let site = u16::try_from(site.0).unwrap_or_default();
    Ipv6Addr::new(0x2001, 0xdb8, site, 0, 0, 0, 0, host)
}

/// A line without devices that is registered from an address.
pub(crate) fn line(id: i64, from: SocketAddrV6) -> LinePicture {
    LinePicture {
        id: LineId(id),
        user: format!("line{id}"),
        extension: (100 + id).to_string(),
        anywhere: false,
        devices: Vec::new(),
        bindings: vec![Place { address: from, time: i64::MAX }],
        sighting: None,
        mismatch: None,
    }
}
