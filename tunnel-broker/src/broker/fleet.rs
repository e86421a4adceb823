//! The tunnel servers: which are up, and which has room.

use std::collections::BTreeMap;
use std::time::Instant;

use super::io::{ServerId, ServerInfo};

/// All tunnel servers that the broker was told of.
#[derive(Debug, Default)]
pub(super) struct Fleet {
    servers: BTreeMap<ServerId, Server>,
}

#[derive(Debug)]
struct Server {
    info: ServerInfo,
    state: State,
    /// Tunnels that the broker knows there, those on their way up or down included.
    used: usize,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Up,
    /// Away; its sites wait until then.
    Grace(Instant),
    /// Away for good.
    Down,
}

impl Fleet {
    /// Takes in a server; gives whether it was unknown.
    pub(super) fn up(&mut self, info: ServerInfo) -> bool {
        let used = self.servers.get(&info.id).map_or(0, |server| server.used);
        self.servers.insert(info.id, Server { info, state: State::Up, used }).is_none()
    }

    /// Marks a server as away; gives `false` when it was away before, or is unknown.
    pub(super) fn down(&mut self, id: ServerId, grace_ends_at: Instant) -> bool {
        match self.servers.get_mut(&id) {
            Some(server) if server.state == State::Up => {
                server.state = State::Grace(grace_ends_at);
                true
            }
            _ => false,
        }
    }

    /// Ends a server's grace when it is over; gives whether it ended now.
    pub(super) fn grace_over(&mut self, id: ServerId, now: Instant) -> bool {
        match self.servers.get_mut(&id) {
            Some(server) if matches!(server.state, State::Grace(ends_at) if ends_at <= now) => {
                server.state = State::Down;
                true
            }
            _ => false,
        }
    }

    /// The server, when it is up.
    pub(super) fn live(&self, id: ServerId) -> Option<&ServerInfo> {
        self.servers.get(&id).filter(|server| server.state == State::Up).map(|server| &server.info)
    }

    /// The server with the most room, one in the region if there is any; none of `tried`.
    pub(super) fn choose(&self, region: &str, tried: &[ServerId]) -> Option<&ServerInfo> {
        self.servers
            .values()
            .filter(|server| server.state == State::Up && !tried.contains(&server.info.id))
            .filter_map(|server| {
                Some((server, server.info.capacity.checked_sub(server.used).filter(|&room| room > 0)?))
            })
            .max_by_key(|(server, room)| {
                (&*server.info.region == region, *room, std::cmp::Reverse(server.info.id))
            })
            .map(|(server, _)| &server.info)
    }

    pub(super) fn occupy(&mut self, id: ServerId) {
        if let Some(server) = self.servers.get_mut(&id) {
            server.used += 1;
        }
    }

    pub(super) fn release(&mut self, id: ServerId) {
        if let Some(server) = self.servers.get_mut(&id) {
            server.used = server.used.saturating_sub(1);
        }
    }

    #[cfg(test)]
    pub(super) fn used(&self) -> BTreeMap<ServerId, usize> {
        self.servers
            .iter()
            .filter(|(_, server)| server.used > 0)
            .map(|(&id, server)| (id, server.used))
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;

    fn server(id: u32, region: &str, capacity: usize) -> ServerInfo {
        ServerInfo {
            id: ServerId(id),
            region: region.into(),
            address: Ipv4Addr::new(192, 0, 2, id as u8),
            capacity,
        }
    }

    fn chosen(fleet: &Fleet, region: &str) -> Option<u32> {
        fleet.choose(region, &[]).map(|info| info.id.0)
    }

    #[test]
    fn the_region_comes_first_then_room() {
        let mut fleet = Fleet::default();
        fleet.up(server(1, "east", 10));
        fleet.up(server(2, "east", 12));
        fleet.up(server(3, "west", 100));
        assert_eq!(chosen(&fleet, "east"), Some(2));
        assert_eq!(chosen(&fleet, "west"), Some(3));
        assert_eq!(chosen(&fleet, "north"), Some(3));
        for _ in 0..2 {
            fleet.occupy(ServerId(2));
        }
        assert_eq!(chosen(&fleet, "east"), Some(1), "equal room: the lower number");
        assert_eq!(fleet.choose("east", &[ServerId(1), ServerId(2)]).unwrap().id, ServerId(3));
    }

    #[test]
    fn a_full_region_overflows_into_another_and_at_last_nothing_is_left() {
        let mut fleet = Fleet::default();
        fleet.up(server(1, "east", 1));
        fleet.up(server(2, "west", 1));
        fleet.occupy(ServerId(1));
        assert_eq!(chosen(&fleet, "east"), Some(2));
        fleet.occupy(ServerId(2));
        assert_eq!(chosen(&fleet, "east"), None);
        fleet.release(ServerId(1));
        assert_eq!(chosen(&fleet, "west"), Some(1));
    }

    #[test]
    fn a_server_that_is_away_is_not_chosen_and_keeps_its_count() {
        let now = Instant::now();
        let mut fleet = Fleet::default();
        fleet.up(server(1, "east", 2));
        fleet.occupy(ServerId(1));
        assert!(fleet.down(ServerId(1), now));
        assert!(!fleet.down(ServerId(1), now));
        assert_eq!(chosen(&fleet, "east"), None);
        assert!(fleet.grace_over(ServerId(1), now));
        assert!(!fleet.grace_over(ServerId(1), now));
        fleet.up(server(1, "east", 1));
        assert_eq!(chosen(&fleet, "east"), None, "its one place is taken");
    }
}
