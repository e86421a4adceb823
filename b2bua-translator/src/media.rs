//! The media of one call: its sessions in the relay, and SDP on its way between the legs.

use std::borrow::Cow;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use bytes::Bytes;
use ipnet::IpNet;
use schema::Trunk;

use crate::body::is_relayable;
use crate::env::{CallKey, Env};
use crate::question::{MediaId, PortPair, Question, Side, Sides, StreamPorts};
use crate::relay::{SideUpdate, SourcePolicy};
use crate::sdp::{MediaRewrite, OriginCounter, Sdp, keep_codecs};
use crate::talk::Talk;

/// A call's media.
#[derive(Debug)]
pub(crate) struct Media {
    call: CallKey,
    session: Option<Session>,
    /// Our addresses toward each side.
    addresses: Option<Sides<IpAddr>>,
    opening: Opening,
    /// How many answers to [`Question::CloseMedia`] are awaited.
    closing: usize,
    /// Where a side's media may come from; `None` for a phone, whose SDP is exact.
    networks: Sides<Option<Arc<[IpNet]>>>,
    /// The trunk's codecs; all when it names none.
    trunk: Option<Arc<Trunk>>,
}

/// Which answer about ports is awaited.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Opening {
    None,
    /// That to [`Question::OpenMedia`].
    Session,
    /// That to [`Question::GrowMedia`].
    Streams,
}

#[derive(Debug)]
struct Session {
    id: MediaId,
    streams: Vec<StreamPorts>,
}

impl Media {
    pub(crate) fn new(call: CallKey) -> Media {
        Media {
            call,
            session: None,
            addresses: None,
            opening: Opening::None,
            closing: 0,
            networks: Sides::default(),
            trunk: None,
        }
    }

    /// Says which trunk is on a side: where its media may come from, and which codecs may pass.
    pub(crate) fn set_trunk(&mut self, side: Side, trunk: &Arc<Trunk>) {
        *self.networks.get_mut(side) = Some(trunk.media_networks.as_slice().into());
        self.trunk = Some(Arc::clone(trunk));
    }

    /// What the trunk's codecs leave of a description.
    pub(crate) fn allowed<'a>(&self, sdp: &'a Sdp) -> Cow<'a, Sdp> {
        match self.trunk.as_ref().map(|trunk| &trunk.codecs).filter(|codecs| !codecs.is_empty()) {
            Some(codecs) => Cow::Owned(keep_codecs(sdp, codecs)),
            None => Cow::Borrowed(sdp),
        }
    }

    /// Whether the ports are open between these addresses.
    pub(crate) fn is_open(&self, caller: IpAddr, callee: IpAddr) -> bool {
        self.session.is_some() && self.addresses == Some(Sides { caller, callee })
    }

    /// Whether nothing is open and no answer is awaited.
    pub(crate) fn is_over(&self) -> bool {
        self.session.is_none() && self.opening == Opening::None && self.closing == 0
    }

    /// Streams that are open.
    pub(crate) fn streams(&self) -> usize {
        self.session.as_ref().map_or(0, |session| session.streams.len())
    }

    /// Asks for ports.
    pub(crate) fn open(
        &mut self,
        env: &mut Env,
        id: Arc<str>,
        streams: usize,
        caller: IpAddr,
        callee: IpAddr,
    ) {
        self.addresses = Some(Sides { caller, callee });
        self.opening = Opening::Session;
        env.ask(self.call, Question::OpenMedia { call: id, streams, caller, callee });
    }

    /// Asks for the ports of further streams.
    pub(crate) fn grow(&mut self, env: &mut Env, streams: usize) {
        if let Some(session) = &self.session {
            self.opening = Opening::Streams;
            env.ask(self.call, Question::GrowMedia { media: session.id, streams });
        }
    }

    /// Takes a session that was opened, or one that has grown and was not closed meanwhile.
    pub(crate) fn opened(&mut self, id: MediaId, streams: Vec<StreamPorts>) {
        let opening = std::mem::replace(&mut self.opening, Opening::None);
        if opening == Opening::Session || self.session.is_some() {
            self.session = Some(Session { id, streams });
        }
    }

    /// Takes a refusal.
    pub(crate) fn not_opened(&mut self) {
        self.opening = Opening::None;
    }

    /// Closes the session, if there is one.
    pub(crate) fn close(&mut self, env: &mut Env) {
        if let Some(session) = self.session.take() {
            self.closing += 1;
            env.ask(self.call, Question::CloseMedia { media: session.id });
        }
    }

    /// Takes the end of a session.
    pub(crate) fn closed(&mut self) {
        self.closing = self.closing.saturating_sub(1);
    }

    /// Asks to be told of silence.
    pub(crate) fn watch(&self, env: &mut Env) {
        if let Some(session) = &self.session {
            env.ask(self.call, Question::WatchMedia { media: session.id });
        }
    }

    /// Tells the relay what both sides said last. `answered`: silence means something from now on.
    pub(crate) fn publish(&self, env: &mut Env, talk: &Talk, answered: bool) {
        let Some(session) = &self.session else { return };
        for side in [Side::Caller, Side::Callee] {
            let Some(sdp) = talk.described(side) else { continue };
            let streams = (0..session.streams.len())
                .map(|index| self.update_of(talk, side, sdp, index, answered))
                .collect();
            env.ask(self.call, Question::UpdateMedia { media: session.id, side, streams });
        }
    }

    /// A body of one side as the other shall see it: with our ports and our `o=` line.
    pub(crate) fn translate(&self, sdp: &Sdp, to: Side, origin: &mut OriginCounter) -> Bytes {
        let Some(address) = self.addresses.as_ref().map(|addresses| *addresses.get(to)) else {
            return Bytes::new();
        };
        let sdp = &*self.allowed(sdp);
        let sections = sdp.media().enumerate().map(|(index, section)| match self.ports(index, to) {
            Some(pair) if is_relayable(&section) => {
                MediaRewrite::Relay { address, rtp_port: pair.rtp, rtcp_port: pair.rtcp }
            }
            _ => MediaRewrite::Reject,
        });
        origin.rewrite(sdp, sections.collect(), unspoken(), address)
    }

    /// An answer that refuses every section of an offer: what an ACK holds when the call ends instead.
    pub(crate) fn refusal(&self, offer: &Sdp, to: Side, origin: &mut OriginCounter) -> Bytes {
        let address =
            self.addresses.as_ref().map_or(IpAddr::from([0, 0, 0, 0]), |addresses| *addresses.get(to));
        origin.rewrite(offer, vec![MediaRewrite::Reject; offer.media_count()], unspoken(), address)
    }

    fn ports(&self, index: usize, toward: Side) -> Option<PortPair> {
        let ports = self.session.as_ref()?.streams.get(index)?;
        Some(*ports.get(toward))
    }

    fn update_of(&self, talk: &Talk, side: Side, sdp: &Sdp, index: usize, answered: bool) -> SideUpdate {
        let Some(section) =
            sdp.media_at(index).filter(|section| is_relayable(section) && !section.is_rejected())
        else {
            return refused();
        };
        let other = talk.described(side.other()).and_then(|other| other.media_at(index));
        let own = self.addresses.as_ref().map(|addresses| *addresses.get(side));
        let reachable = |address: &IpAddr| own.is_some_and(|own| own.is_ipv4() == address.is_ipv4());
        // The leg's family is settled: where `c=` names the other one, the alternative holds (RFC 6947 §4).
        let alternative = section
            .address()
            .filter(|address| !address.is_unspecified() && !reachable(address))
            .and_then(|address| section.alternative(!address.is_ipv6()));
        let real = alternative.map(|address| address.ip()).or(talk.real(side, index));
        let networks = self.networks.get(side).as_ref().filter(|networks| !networks.is_empty());
        let sources = match (networks, real) {
            (Some(networks), _) => SourcePolicy::Networks(networks.to_vec()),
            (None, Some(ip)) => SourcePolicy::Exact(ip),
            (None, None) => SourcePolicy::Nobody,
        };
        let mux = section.rtcp_mux() && other.is_some_and(|other| other.rtcp_mux());
        let mut update = SideUpdate::from_media(&section, Some(sources), mux);
        if let Some(rtp) = alternative {
            let rtcp = if mux { Some(rtp.port()) } else { rtp.port().checked_add(1) };
            (update.rtp, update.rtcp) = (Some(rtp), rtcp.map(|port| SocketAddr::new(rtp.ip(), port)));
        }
        // What names an address of the other family cannot be reached from this side.
        update.rtp = update.rtp.filter(|rtp| reachable(&rtp.ip()));
        update.rtcp = update.rtcp.filter(|rtcp| reachable(&rtcp.ip()));
        update.sends &= answered && other.is_some_and(|other| other.direction().receives());
        update
    }
}

/// Attributes that are between their writer and us: other addresses (RFC 6947), and resources reserved on the way (RFC 3312). ICE goes
/// without being named.
fn unspoken() -> Vec<String> {
    ["altc", "curr", "des", "conf"].map(str::to_owned).to_vec()
}

/// A stream that is refused or was never offered.
fn refused() -> SideUpdate {
    SideUpdate {
        sources: SourcePolicy::Nobody,
        rtp: None,
        rtcp: None,
        sends: false,
        rtcp_mux: false,
        is_rtp: true,
        payloads: Vec::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::body::can_relay;

    fn sdp(media: &str) -> Sdp {
        Sdp::parse(format!(
            "v=0\r\no=- 1 1 IN IP4 192.0.2.1\r\ns=-\r\nc=IN IP4 192.0.2.1\r\nt=0 0\r\n{media}"
        ))
        .unwrap()
    }

    fn media() -> Media {
        let mut media = Media::new(CallKey(1));
        media.addresses =
            Some(Sides { caller: "2001:db8::9".parse().unwrap(), callee: "198.51.100.9".parse().unwrap() });
        let pair = |rtp| PortPair { rtp, rtcp: rtp + 1 };
        media.opening = Opening::Session;
        media.opened(MediaId(1), vec![StreamPorts { caller: pair(20_000), callee: pair(30_000) }]);
        media
    }

    #[test]
    fn what_cannot_be_relayed_is_refused() {
        let offer = sdp("m=audio 4000 RTP/AVP 0\r\nm=video 4002 RTP/AVP 96\r\nm=message 4004 TCP/MSRP *\r\n");
        let body = media().translate(&offer, Side::Caller, &mut OriginCounter::new(7));
        let out = Sdp::parse(body).unwrap();
        assert_eq!(out.media_address(0).unwrap().1, 20_000);
        assert!(out.is_rejected(1) && out.is_rejected(2));
        assert!(can_relay(&offer));
        assert!(!can_relay(&sdp("m=message 4004 TCP/MSRP *\r\nm=audio 0 RTP/AVP 0\r\n")));
        assert!(!can_relay(&sdp("")));
    }

    #[test]
    fn a_trunk_may_send_from_its_networks_and_a_phone_from_its_address() {
        let mut media = media();
        let mut talk = Talk::default();
        talk.describe(Side::Callee, sdp("m=audio 4000 RTP/AVP 0\r\n"));
        let update = |media: &Media, talk: &Talk, answered| {
            media.update_of(talk, Side::Callee, talk.described(Side::Callee).unwrap(), 0, answered)
        };
        assert_eq!(update(&media, &talk, true).sources, SourcePolicy::Exact("192.0.2.1".parse().unwrap()));
        assert!(!update(&media, &talk, true).sends, "the other side has said nothing yet");
        let mut trunk = Trunk::new("carrier", vec!["192.0.2.1".parse().unwrap()]).unwrap();
        trunk.media_networks = vec!["192.0.2.0/24".parse().unwrap()];
        media.set_trunk(Side::Callee, &trunk.into());
        talk.describe(Side::Caller, sdp("m=audio 4000 RTP/AVP 0\r\n"));
        assert!(matches!(update(&media, &talk, true).sources, SourcePolicy::Networks(_)));
        assert!(update(&media, &talk, true).sends && !update(&media, &talk, false).sends);
        talk.describe(Side::Callee, sdp("m=audio 4000 RTP/AVP 0\r\nc=IN IP4 0.0.0.0\r\n"));
        assert_eq!(update(&media, &talk, true).rtp, None);
        talk.describe(Side::Caller, sdp("m=audio 4000 RTP/AVP 0\r\na=sendonly\r\n"));
        assert!(!update(&media, &talk, true).sends);
        talk.describe(Side::Callee, sdp("m=audio 0 RTP/AVP 0\r\n"));
        assert_eq!(update(&media, &talk, true).sources, SourcePolicy::Nobody);
    }

    #[test]
    fn an_address_of_the_other_family_is_not_reached() {
        let media = media();
        let mut talk = Talk::default();
        talk.describe(Side::Caller, sdp("m=audio 4000 RTP/AVP 0\r\n"));
        let update = media.update_of(&talk, Side::Caller, talk.described(Side::Caller).unwrap(), 0, true);
        assert_eq!((update.rtp, update.rtcp), (None, None));
    }

    /// RFC 6947 §4: where `c=` names the other family, the alternative of the leg's own is used; it does not go on to the other leg.
    #[test]
    fn an_alternative_of_the_right_family_is_reached() {
        let media = media();
        let mut talk = Talk::default();
        let altc = "m=audio 4000 RTP/AVP 0\r\na=altc:2 IP6 2001:db8::8 4102\r\na=altc:1 IP6 2001:db8::7 4100\r\n\
                    a=altc:3 IP4 192.0.2.1 4000\r\n";
        talk.describe(Side::Caller, sdp(altc));
        let update = media.update_of(&talk, Side::Caller, talk.described(Side::Caller).unwrap(), 0, true);
        assert_eq!(update.rtp, Some("[2001:db8::7]:4100".parse().unwrap()));
        assert_eq!(update.rtcp, Some("[2001:db8::7]:4101".parse().unwrap()));
        assert_eq!(update.sources, SourcePolicy::Exact("2001:db8::7".parse().unwrap()));
        let body = media.translate(&sdp(altc), Side::Callee, &mut OriginCounter::new(7));
        assert!(!String::from_utf8_lossy(&body).contains("altc"));
    }
}
