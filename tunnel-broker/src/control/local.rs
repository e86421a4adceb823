//! The link to the tunnel server in this process.

use std::sync::Arc;

use tokio::sync::mpsc;
use tokio::time::Instant;

use super::executor::{Executor, Ousted};
use super::link::{BrokerGone, LinkEvent, LinkSettings, Orders, refuse_until};
use crate::broker::{ServerId, ServerInfo, TunnelFailure};

pub(super) async fn run<E: From<LinkEvent>>(
    server: ServerId,
    executor: Arc<Executor>,
    mut orders: Orders,
    events: mpsc::Sender<E>,
    settings: LinkSettings,
) {
    loop {
        let Err(end) = give_orders(server, &executor, &mut orders, &events).await;
        match end {
            End::BrokerGone => return,
            End::PlaneFailed => tracing::error!("the data plane does not do as it is told: see above"),
            End::Ousted(ousted) => tracing::error!(%ousted, "no more orders from this process"),
        }
        let again = async {
            // What was ordered before has its answer before the server is said to be away.
            refuse_until(Instant::now(), &mut orders, &events).await?;
            events.send(LinkEvent::Down(server).into()).await.map_err(|_| BrokerGone)?;
            refuse_until(Instant::now() + settings.retry.1, &mut orders, &events).await
        };
        if again.await.is_err() {
            return;
        }
    }
}

enum End {
    BrokerGone,
    PlaneFailed,
    Ousted(Ousted),
}

impl From<BrokerGone> for End {
    fn from(_: BrokerGone) -> End {
        End::BrokerGone
    }
}

async fn give_orders<E: From<LinkEvent>>(
    id: ServerId,
    executor: &Arc<Executor>,
    orders: &mut Orders,
    events: &mpsc::Sender<E>,
) -> Result<std::convert::Infallible, End> {
    let tell = async |event: LinkEvent| events.send(event.into()).await.map_err(|_| BrokerGone);
    let seat = executor.take_seat();
    let held = seat.held().map_err(End::Ousted)?;
    let identity = seat.identity().clone();
    let server =
        ServerInfo { id, region: identity.region, address: identity.address, capacity: identity.capacity };
    tell(LinkEvent::Up { server, held }).await?;
    loop {
        let (token, order) = orders.recv().await.ok_or(BrokerGone)?;
        let done = seat.execute(&order);
        let result = done.unwrap_or(Err(TunnelFailure::Unreachable));
        tell(LinkEvent::Answer(token, result)).await?;
        if let Err(ousted) = done {
            return Err(End::Ousted(ousted));
        }
        if result == Err(TunnelFailure::Unreachable) {
            return Err(End::PlaneFailed);
        }
    }
}
