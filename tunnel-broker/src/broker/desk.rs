//! Which account has which tunnel where, and how that becomes what its newest session wants.
//!
//! Each account has a slot with what is wanted and what there is; [`Desk::step`] compares the two and asks for the next change.
//! At most one question is on its way for a slot, so however logins, ends of sessions and answers interleave, each step starts
//! from what is known.

use std::collections::{HashMap, VecDeque};
use std::net::Ipv4Addr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

use super::fleet::Fleet;
use super::io::{
    ConnectionId, Event, HeldTunnel, Output, Question, ServerId, ServerInfo, Standing, TimerId, Token,
    TunnelFailure,
};
use crate::dtcp::Refusal;
use crate::lease::{Grant, Outer, TunnelId};

/// All slots, and the servers.
#[derive(Debug)]
pub(super) struct Desk {
    slots: HashMap<Arc<str>, Slot>,
    /// Whose tunnel ends, or is to end, at an address.
    claims: HashMap<Ipv4Addr, Arc<str>>,
    fleet: Fleet,
    /// Whose slot an answer is for; `None` for a stray tunnel that is taken down.
    pending: HashMap<Token, (ServerId, Option<Arc<str>>)>,
    adoption: Duration,
    server_grace: Duration,
    random: StdRng,
    last_token: u64,
    outputs: VecDeque<Output>,
    outcomes: VecDeque<Outcome>,
}

/// What became of a session's wish.
#[derive(Debug)]
pub(super) enum Outcome {
    /// Its tunnel stands. Said again when the tunnel had to be raised anew.
    Raised { session: ConnectionId, server: ServerId, outer: Outer, grant: Grant },
    /// It gets none, or has lost it.
    Failed { session: ConnectionId, refusal: Refusal },
}

/// What a session wants.
#[derive(Debug)]
pub(super) struct Want {
    pub(super) session: ConnectionId,
    pub(super) client: Ipv4Addr,
    pub(super) grant: Grant,
    pub(super) region: Arc<str>,
}

#[derive(Debug, Default)]
struct Slot {
    want: Option<Want>,
    /// Servers that had no room after all, for the present want.
    tried: Vec<ServerId>,
    tunnel: Option<Tunnel>,
    /// Until when a tunnel that was found on a server waits for its site.
    adopted_until: Option<Instant>,
    claimed: Vec<Ipv4Addr>,
}

#[derive(Debug)]
struct Tunnel {
    id: TunnelId,
    server: ServerId,
    outer: Outer,
    grant: Grant,
    state: State,
}

#[derive(Debug)]
enum State {
    /// Stands as it should for this session; for nobody's when `None`, or it is not certain that it stands.
    Steady(Option<ConnectionId>),
    Adding(Token, ConnectionId),
    Moving(Token, ConnectionId, Outer),
    Removing(Token),
}

impl State {
    fn token(&self) -> Option<Token> {
        match self {
            State::Steady(_) => None,
            State::Adding(token, _) | State::Moving(token, ..) | State::Removing(token) => Some(*token),
        }
    }
}

impl Desk {
    pub(super) fn new(adoption: Duration, server_grace: Duration, seed: [u8; 32]) -> Desk {
        Desk {
            slots: HashMap::new(),
            claims: HashMap::new(),
            fleet: Fleet::default(),
            pending: HashMap::new(),
            adoption,
            server_grace,
            random: StdRng::from_seed(seed),
            last_token: 0,
            outputs: VecDeque::new(),
            outcomes: VecDeque::new(),
        }
    }

    pub(super) fn poll_output(&mut self) -> Option<Output> {
        self.outputs.pop_front()
    }

    pub(super) fn next_outcome(&mut self) -> Option<Outcome> {
        self.outcomes.pop_front()
    }

    /// A token that was not used before.
    pub(super) fn token(&mut self) -> Token {
        self.last_token += 1;
        Token(self.last_token)
    }

    /// Takes a session's wish. Gives the session whose place it takes, if any; the holder of the address when that is another
    /// account, and then nothing changes.
    pub(super) fn login(
        &mut self,
        account: &Arc<str>,
        want: Want,
        now: Instant,
    ) -> Result<Option<(ConnectionId, Ipv4Addr)>, Arc<str>> {
        if let Some(holder) = self.claims.get(&want.client).filter(|&holder| holder != account) {
            return Err(holder.clone());
        }
        let slot = self.slots.entry(account.clone()).or_default();
        slot.tried.clear();
        if slot.adopted_until.take().is_some() {
            self.outputs.push_back(Output::SetTimer(TimerId::Adoption(account.clone()), None));
        }
        let older = slot.want.replace(want).map(|older| (older.session, older.client));
        self.step(account, now);
        Ok(older)
    }

    /// A session ended: what it wanted is wanted no longer.
    pub(super) fn logout(&mut self, account: &Arc<str>, session: ConnectionId, now: Instant) {
        if let Some(slot) = self.slots.get_mut(account)
            && slot.want.as_ref().is_some_and(|want| want.session == session)
        {
            slot.want = None;
            self.step(account, now);
        }
    }

    /// An account may not have what it has. Gives the session that wants it; a tunnel that nobody wants is wanted no longer.
    pub(super) fn revoke(&mut self, account: &Arc<str>, now: Instant) -> Option<ConnectionId> {
        let slot = self.slots.get_mut(account)?;
        let session = slot.want.as_ref().map(|want| want.session);
        if slot.adopted_until.take().is_some() {
            self.outputs.push_back(Output::SetTimer(TimerId::Adoption(account.clone()), None));
            self.step(account, now);
        }
        session
    }

    pub(super) fn tunnels(&self) -> impl Iterator<Item = Standing> {
        self.slots.iter().filter_map(|(account, slot)| {
            let Tunnel { id, server, outer, grant, ref state } = *slot.tunnel.as_ref()?;
            let has_session = matches!(state, State::Steady(Some(_)));
            Some(Standing { account: account.clone(), tunnel: id, server, outer, grant, has_session })
        })
    }

    /// The answer to one of the tunnel questions.
    pub(super) fn answer(&mut self, token: Token, result: Result<(), TunnelFailure>, now: Instant) {
        let Some((server, account)) = self.pending.remove(&token) else { return };
        if let Err(failure) = result {
            self.outputs.push_back(Output::Event(Event::ServerFailed { server, failure }));
            if failure == TunnelFailure::Unreachable {
                self.server_down(server, now);
            }
        }
        let Some(account) = account else { return };
        self.settle(&account, token, result);
        self.step(&account, now);
    }

    /// A server is there, with the tunnels that it holds.
    pub(super) fn server_up(&mut self, info: ServerInfo, held: Vec<HeldTunnel>, now: Instant) {
        let (server, address) = (info.id, info.address);
        let is_new = self.fleet.up(info);
        self.outputs.push_back(Output::SetTimer(TimerId::Server(server), None));
        let mut held: HashMap<TunnelId, HeldTunnel> =
            held.into_iter().map(|held| (held.tunnel, held)).collect();
        let mut changed = Vec::new();
        for (account, slot) in &mut self.slots {
            let Some(tunnel) = slot.tunnel.as_mut().filter(|tunnel| tunnel.server == server) else {
                continue;
            };
            let there = held.remove(&tunnel.id);
            if tunnel.state.token().is_some() {
                continue;
            }
            match there {
                Some(there)
                    if there.account == *account
                        && there.grant == tunnel.grant
                        && tunnel.outer.server == address
                        && self.claims.get(&there.client).is_none_or(|holder| holder == account) =>
                {
                    if there.client != tunnel.outer.client {
                        tunnel.outer.client = there.client;
                        tunnel.state = State::Steady(None);
                        changed.push(account.clone());
                    }
                }
                // Ours no longer: it is put back in `held`, to be taken down, and raised anew for whoever wants it.
                there => {
                    held.extend(there.map(|there| (there.tunnel, there)));
                    slot.tunnel = None;
                    self.fleet.release(server);
                    changed.push(account.clone());
                }
            }
        }
        let mut held: Vec<HeldTunnel> = held.into_values().collect();
        held.sort_by_key(|held| held.tunnel);
        for held in held {
            // Only a broker that has just started may find what it did not raise and should keep.
            let is_free = !self.slots.contains_key(&held.account) && !self.claims.contains_key(&held.client);
            if is_new && is_free {
                self.adopt(server, address, held, now);
            } else {
                let token = self.token();
                self.pending.insert(token, (server, None));
                self.outputs.push_back(Output::Ask(token, Question::Remove { server, tunnel: held.tunnel }));
            }
        }
        changed.sort_unstable();
        for account in changed {
            self.step(&account, now);
        }
    }

    /// A server does not answer.
    pub(super) fn server_down(&mut self, server: ServerId, now: Instant) {
        let ends_at = now + self.server_grace;
        if self.fleet.down(server, ends_at) {
            self.outputs.push_back(Output::SetTimer(TimerId::Server(server), Some(ends_at)));
        }
    }

    /// A server's grace is over: its sites shall log in again, and get another server.
    pub(super) fn server_grace_over(&mut self, server: ServerId, now: Instant) {
        if !self.fleet.grace_over(server, now) {
            return;
        }
        let mut lost: Vec<Arc<str>> = self
            .slots
            .iter()
            .filter(|(_, slot)| slot.tunnel.as_ref().is_some_and(|tunnel| tunnel.server == server))
            .map(|(account, _)| account.clone())
            .collect();
        lost.sort_unstable();
        for account in lost {
            self.forget_tunnel(&account);
            self.fail(&account, None, Refusal::ServerAway);
            self.step(&account, now);
        }
    }

    /// The time is over in which a site may claim the tunnel that was found.
    pub(super) fn adoption_over(&mut self, account: &Arc<str>, now: Instant) {
        let Some(slot) = self.slots.get_mut(account) else { return };
        if slot.adopted_until.is_some_and(|until| until <= now) {
            slot.adopted_until = None;
            self.outputs.push_back(Output::Event(Event::Unclaimed { account: account.clone() }));
            self.step(account, now);
        }
    }

    /// Takes over a tunnel that nobody here raised, so that calls outlive a restart of the broker.
    fn adopt(&mut self, server: ServerId, address: Ipv4Addr, held: HeldTunnel, now: Instant) {
        let until = now + self.adoption;
        self.outputs.push_back(Output::SetTimer(TimerId::Adoption(held.account.clone()), Some(until)));
        self.fleet.occupy(server);
        let tunnel = Tunnel {
            id: held.tunnel,
            server,
            outer: Outer { client: held.client, server: address },
            grant: held.grant,
            state: State::Steady(None),
        };
        let slot = Slot { tunnel: Some(tunnel), adopted_until: Some(until), ..Slot::default() };
        self.slots.insert(held.account.clone(), slot);
        self.claim(&held.account);
    }

    /// Notes what an answer says about a slot's tunnel.
    fn settle(&mut self, account: &Arc<str>, token: Token, result: Result<(), TunnelFailure>) {
        let Some(slot) = self.slots.get_mut(account) else { return };
        let Some(tunnel) = slot.tunnel.as_mut().filter(|tunnel| tunnel.state.token() == Some(token)) else {
            return;
        };
        let server = tunnel.server;
        match (std::mem::replace(&mut tunnel.state, State::Steady(None)), result) {
            (State::Steady(_), _) => {}
            (State::Adding(_, session), Ok(())) => self.raised(account, session),
            (State::Moving(_, session, to), Ok(())) => {
                tunnel.outer = to;
                self.raised(account, session);
            }
            (State::Adding(..), Err(TunnelFailure::Full)) => {
                slot.tried.push(server);
                self.forget_tunnel(account);
            }
            (State::Adding(_, session), Err(TunnelFailure::Clash)) => {
                self.forget_tunnel(account);
                self.fail(account, Some(session), Refusal::ServerAway);
            }
            // It may stand or not. Nobody has it, so the next step takes it down.
            (State::Adding(_, session), Err(_)) => self.fail(account, Some(session), Refusal::ServerAway),
            // Gone behind our back: the next step raises another.
            (State::Moving(..), Err(TunnelFailure::Unknown)) => self.forget_tunnel(account),
            (State::Moving(_, session, _), Err(_)) => self.fail(account, Some(session), Refusal::ServerAway),
            // Gone, or on a server that is away and will tell of it when it is back.
            (State::Removing(_), _) => self.forget_tunnel(account),
        }
    }

    /// Asks for the next change that brings a slot nearer to what is wanted.
    fn step(&mut self, account: &Arc<str>, now: Instant) {
        loop {
            let Some(slot) = self.slots.get_mut(account) else { return };
            match (&mut slot.tunnel, &slot.want) {
                (Some(tunnel), _) if tunnel.state.token().is_some() => break,
                (Some(_), None) if slot.adopted_until.is_some_and(|until| until > now) => break,
                (Some(Tunnel { state: State::Steady(Some(session)), .. }), Some(want))
                    if *session == want.session =>
                {
                    break;
                }
                (Some(tunnel), _) if self.fleet.live(tunnel.server).is_none() => self.forget_tunnel(account),
                (Some(tunnel), want) => {
                    self.last_token += 1;
                    let token = Token(self.last_token);
                    let server = tunnel.server;
                    let question = match want {
                        Some(want) if want.grant == tunnel.grant => {
                            let outer = Outer { client: want.client, ..tunnel.outer };
                            tunnel.state = State::Moving(token, want.session, outer);
                            Question::Move { server, tunnel: tunnel.id, outer }
                        }
                        _ => {
                            tunnel.state = State::Removing(token);
                            Question::Remove { server, tunnel: tunnel.id }
                        }
                    };
                    self.pending.insert(token, (server, Some(account.clone())));
                    self.outputs.push_back(Output::Ask(token, question));
                    break;
                }
                (None, Some(want)) => {
                    let Some(info) = self.fleet.choose(&want.region, &slot.tried) else {
                        self.outputs.push_back(Output::Event(Event::SoldOut { account: account.clone() }));
                        self.fail(account, None, Refusal::SoldOut);
                        continue;
                    };
                    self.last_token += 1;
                    let token = Token(self.last_token);
                    let (server, id) = (info.id, TunnelId(self.random.next_u64()));
                    let (grant, outer) = (want.grant, Outer { client: want.client, server: info.address });
                    let state = State::Adding(token, want.session);
                    slot.tunnel = Some(Tunnel { id, server, outer, grant, state });
                    self.fleet.occupy(server);
                    self.pending.insert(token, (server, Some(account.clone())));
                    let account = account.clone();
                    let question = Question::Add { server, tunnel: id, account, outer, grant };
                    self.outputs.push_back(Output::Ask(token, question));
                    break;
                }
                (None, None) => {
                    if slot.adopted_until.take().is_some() {
                        self.outputs.push_back(Output::SetTimer(TimerId::Adoption(account.clone()), None));
                    }
                    for address in std::mem::take(&mut slot.claimed) {
                        self.claims.remove(&address);
                    }
                    self.slots.remove(account);
                    return;
                }
            }
        }
        self.claim(account);
    }

    /// A slot's tunnel stands for a session; the session is told when it is still the one that wants it.
    fn raised(&mut self, account: &Arc<str>, session: ConnectionId) {
        let Some(Slot { want, tunnel: Some(tunnel), .. }) = self.slots.get_mut(account) else { return };
        tunnel.state = State::Steady(Some(session));
        if want.as_ref().is_some_and(|want| want.session == session) {
            let (server, outer, grant) = (tunnel.server, tunnel.outer, tunnel.grant);
            self.outcomes.push_back(Outcome::Raised { session, server, outer, grant });
        }
    }

    /// Ends a slot's wish, if it is still that session's (any session's with `None`).
    fn fail(&mut self, account: &Arc<str>, session: Option<ConnectionId>, refusal: Refusal) {
        let Some(slot) = self.slots.get_mut(account) else { return };
        if let Some(want) = slot.want.take_if(|want| session.is_none_or(|session| session == want.session)) {
            self.outcomes.push_back(Outcome::Failed { session: want.session, refusal });
        }
    }

    fn forget_tunnel(&mut self, account: &Arc<str>) {
        if let Some(tunnel) = self.slots.get_mut(account).and_then(|slot| slot.tunnel.take()) {
            self.fleet.release(tunnel.server);
        }
    }

    /// Brings the claims of a slot up to date. An address stays claimed while a tunnel is on its way from it.
    fn claim(&mut self, account: &Arc<str>) {
        let Some(slot) = self.slots.get_mut(account) else { return };
        for address in slot.claimed.drain(..) {
            self.claims.remove(&address);
        }
        slot.claimed.extend(slot.want.as_ref().map(|want| want.client));
        if let Some(tunnel) = &slot.tunnel {
            slot.claimed.push(tunnel.outer.client);
            if let State::Moving(_, _, to) = &tunnel.state {
                slot.claimed.push(to.client);
            }
        }
        for &address in &slot.claimed {
            self.claims.insert(address, account.clone());
        }
    }

    /// Checks what must always hold.
    #[cfg(test)]
    pub(super) fn check(&self) {
        let mut used = std::collections::BTreeMap::new();
        for (account, slot) in &self.slots {
            assert!(slot.want.is_some() || slot.tunnel.is_some(), "{account}: an empty slot is left behind");
            if let Some(tunnel) = &slot.tunnel {
                *used.entry(tunnel.server).or_insert(0) += 1;
                let waits = tunnel.state.token();
                assert!(
                    waits.is_none_or(|token| self.pending.contains_key(&token)),
                    "{account}: waits for nothing"
                );
            }
            for address in &slot.claimed {
                assert_eq!(self.claims.get(address), Some(account), "two accounts at {address}");
            }
        }
        assert_eq!(used, self.fleet.used(), "the servers' counts have drifted");
        let claimed: std::collections::BTreeSet<_> =
            self.slots.values().flat_map(|slot| &slot.claimed).collect();
        assert_eq!(claimed.len(), self.claims.len(), "a claim is left behind");
    }

    /// How many slots, claims and questions there are.
    #[cfg(test)]
    pub(super) fn sizes(&self) -> [usize; 3] {
        [self.slots.len(), self.claims.len(), self.pending.len()]
    }
}
