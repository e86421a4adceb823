//! What two parties last said of their media to each other.

use std::net::IpAddr;

use crate::question::{Side, Sides};
use crate::sdp::Sdp;

/// Both sides' descriptions.
#[derive(Debug, Clone, Default)]
pub(crate) struct Talk {
    described: Sides<Option<Sdp>>,
    /// The last real address of each stream: a held phone that writes `::` still sends from there.
    real: Sides<Vec<Option<IpAddr>>>,
}

impl Talk {
    /// Notes what a side says of its media.
    pub(crate) fn describe(&mut self, side: Side, sdp: Sdp) {
        let real = self.real.get_mut(side);
        for index in 0..sdp.media_count() {
            let address = sdp.media_address(index).map(|(ip, ..)| ip).filter(|ip| !ip.is_unspecified());
            if real.len() <= index {
                real.resize(index + 1, None);
            }
            if let (Some(slot), Some(_)) = (real.get_mut(index), address) {
                *slot = address;
            }
        }
        *self.described.get_mut(side) = Some(sdp);
    }

    /// Somebody else is on this side now.
    pub(crate) fn forget(&mut self, side: Side) {
        *self.described.get_mut(side) = None;
        self.real.get_mut(side).clear();
    }

    /// What a side last said of its media.
    pub(crate) fn described(&self, side: Side) -> Option<&Sdp> {
        self.described.get(side).as_ref()
    }

    /// The last real address of a side's stream.
    pub(crate) fn real(&self, side: Side, stream: usize) -> Option<IpAddr> {
        self.real.get(side).get(stream).copied().flatten()
    }

    /// Whether an offer asks a side's peer for nothing that it has not agreed to already: the same sections in the same
    /// direction, with every format that was in use. Only addresses and ports may differ.
    pub(crate) fn asks_nothing_new(&self, side: Side, offer: &Sdp) -> bool {
        let Some(old) = self.described(side) else { return false };
        old.media_count() == offer.media_count()
            && old.media().zip(offer.media()).all(|(old, new)| {
                let mut formats = old.formats();
                old.kind_name() == new.kind_name()
                    && old.proto() == new.proto()
                    && old.is_rejected() == new.is_rejected()
                    && old.direction() == new.direction()
                    && formats.all(|format| new.formats().any(|other| other == format))
            })
    }
}
