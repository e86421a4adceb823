//! Which gateways live: OPTIONS to each, by one worker for all.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use schema::Gateway;
use sip_core::core::{Output, TimerId};
use sip_core::flow::Flow;
use sip_core::transaction::ClientId;
use sip_core::wire::header::MaxForwards;
use sip_core::wire::{Builder, Message, Method, Name, SipUri, StatusCode};

use crate::env::{Env, Owner};
use crate::leg::{Peering, allow};
use crate::trunks::transport_of;

/// Asks the gateways of all enabled trunks, each in its own time.
#[derive(Debug, Default)]
pub(crate) struct KeepAlive {
    due: HashMap<Gateway, Instant>,
    /// Who has not answered yet, and when that counts as a failure.
    asked: HashMap<ClientId, (Gateway, Instant)>,
}

impl KeepAlive {
    /// Asks whom it is time to ask, and sets the timer for the next.
    pub(crate) fn tick(&mut self, env: &mut Env) {
        let times = env.settings.keep_alive;
        if times.every.is_zero() {
            return;
        }
        let gateways: Vec<Gateway> = env
            .directory
            .trunks()
            .iter()
            .filter(|trunk| trunk.enabled)
            .flat_map(|trunk| env.trunks.gateways_of(trunk))
            .map(|(gateway, _)| gateway)
            .take(MAX_GATEWAYS)
            .collect();
        self.due.retain(|gateway, _| gateways.contains(gateway));
        let now = env.now;
        let late: Vec<ClientId> =
            self.asked.iter().filter(|(_, (_, until))| *until <= now).map(|(client, _)| *client).collect();
        for client in late {
            self.failed(env, client);
        }
        env.trunks.keep_only(&gateways);
        for gateway in gateways {
            let due = *self.due.entry(gateway).or_insert(env.now);
            if due <= env.now {
                let next = if env.trunks.is_up(gateway) { times.every } else { times.retry_every };
                self.due.insert(gateway, env.now + next);
                self.ask(env, gateway);
            }
        }
        // New trunks are found without being told: the shorter of the two times is soon enough.
        let answers = self.asked.values().map(|(_, until)| until);
        let soonest = self.due.values().chain(answers).min().copied().unwrap_or(env.now + times.retry_every);
        let at = soonest.min(env.now + times.retry_every.max(Duration::from_secs(1)));
        env.out.push_back(Output::SetTimer(TIMER, Some(at)));
    }

    /// Asks nobody any more.
    pub(crate) fn stop(&mut self, env: &mut Env) {
        env.out.push_back(Output::SetTimer(TIMER, None));
    }

    /// Takes a response. Any answer shows life, but 503 says that no calls are wanted, and 408 comes from the gateway's own
    /// proxy, which did not reach it.
    pub(crate) fn response(&mut self, env: &mut Env, client: ClientId, response: &Message) {
        let Some(status) = response.status().filter(|status| status.is_final()) else { return };
        let Some((gateway, _)) = self.asked.remove(&client) else {
            // Late, but alive: the next one will tell.
            return;
        };
        match status {
            StatusCode::SERVICE_UNAVAILABLE | StatusCode::REQUEST_TIMEOUT => self.failed_by(env, gateway),
            _ => env.gateway_answered(gateway),
        }
    }

    /// No response came.
    pub(crate) fn failed(&mut self, env: &mut Env, client: ClientId) {
        if let Some((gateway, _)) = self.asked.remove(&client) {
            self.failed_by(env, gateway);
        }
    }

    fn failed_by(&mut self, env: &mut Env, gateway: Gateway) {
        env.gateway_failed(gateway);
        // A second failure in a row is looked for at once, not after the long time.
        let soon = env.now + env.settings.keep_alive.retry_every;
        if let Some(due) = self.due.get_mut(&gateway) {
            *due = soon.min(*due);
        }
    }

    fn ask(&mut self, env: &mut Env, gateway: Gateway) {
        let Some(face) = env.settings.outside(gateway.address.ip()) else { return };
        let transport = transport_of(gateway);
        let flow = Flow { transport, local: face.at(transport), remote: gateway.address, connection: None };
        let uri = SipUri::of_address(gateway.address, transport);
        let own = SipUri::of_address(face.at(transport), transport);
        let request = Builder::request(&Method::Options, &uri)
            .header(Name::Via, env.via(&flow, face))
            .header(Name::MaxForwards, MaxForwards(70))
            .header(Name::From, format_args!("<{own}>;tag={}", env.ids.tag()))
            .header(Name::To, format_args!("<{uri}>"))
            .header(Name::CallId, env.ids.call_id())
            .header(Name::CSeq, "1 OPTIONS")
            .header(Name::Contact, format_args!("<{own}>"))
            .header(Name::Allow, allow(Peering::Trunk))
            .finish();
        if let Some(client) = env.request(Owner::KeepAlive(gateway), request, flow) {
            self.asked.insert(client, (gateway, env.now + env.settings.connect_limit));
        }
    }
}

/// The keep-alive's timer: calls count from 1, so that none of theirs is equal.
pub(crate) const TIMER: TimerId = TimerId(7);
/// Gateways that are asked.
const MAX_GATEWAYS: usize = 1_024;
