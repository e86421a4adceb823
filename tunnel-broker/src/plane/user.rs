//! The plane in user space.

use std::io;
use std::net::Shutdown;
use std::os::fd::AsFd;
use std::sync::atomic::{AtomicBool, AtomicU16, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};

use mio::Waker;
use socket2::Socket;
use tun_rs::SyncDevice;

use super::counters::SendErrors;
use super::{DataPlane, PlaneCounters, PlaneError, PlaneSettings, device, inward, mmsg, outward, socket};
use crate::lease::{Grant, Outer, TunnelId};
use crate::tunnel::{MIN_MTU, Relay, Table, Traffic};

/// Moves packets between one TUN device and one raw socket, with a thread a direction. Dropping it stops the threads and removes the
/// device.
#[derive(Debug)]
pub struct UserPlane {
    shared: Arc<Shared>,
    name: String,
    threads: Vec<JoinHandle<()>>,
}

/// What both threads and the control calls use.
pub(super) struct Shared {
    relay: Mutex<Relay>,
    pub(super) errors: SendErrors,
    pub(super) merged: AtomicU64,
    pub(super) device: SyncDevice,
    pub(super) socket: Socket,
    pub(super) mtu: u16,
    fragment_id: AtomicU16,
    waker: Waker,
    stopping: AtomicBool,
}

impl UserPlane {
    /// Makes the device and the socket and starts the threads, in the present network namespace.
    ///
    /// # Errors
    /// [`PlaneError`] says what is missing.
    pub fn start(settings: PlaneSettings) -> Result<UserPlane, PlaneError> {
        if settings.mtu < MIN_MTU || settings.mtu > MAX_MTU {
            let reason = "a tunnel's MTU is 1280 bytes at least and 65515 at most";
            return Err(PlaneError::Setting { name: "mtu", value: settings.mtu.to_string(), reason });
        }
        let socket = socket::open(settings.local)?;
        let device = device::open(&settings.device, settings.mtu)?;
        let (poll, waker) = outward::poll(&device).map_err(|source| PlaneError::Thread { source })?;
        let shared = Arc::new(Shared {
            relay: Mutex::new(Relay::new(settings.relay(), Table::new(settings.capacity))),
            errors: SendErrors::default(),
            merged: AtomicU64::new(0),
            device,
            socket,
            mtu: settings.mtu,
            fragment_id: AtomicU16::new(1),
            waker,
            stopping: AtomicBool::new(false),
        });
        let mut plane = UserPlane { shared, name: settings.device, threads: Vec::new() };
        let shared = plane.shared.clone();
        plane.spawn("tunnel-out", move || outward::run(&shared, poll))?;
        let shared = plane.shared.clone();
        plane.spawn("tunnel-in", move || inward::run(&shared))?;
        Ok(plane)
    }

    /// The name of the TUN device.
    pub fn device(&self) -> &str {
        &self.name
    }

    /// Whether packets are carried. When somebody removes the device under a plane it stops, logs why, and says so here; the way
    /// out is to start another.
    pub fn is_running(&self) -> bool {
        !self.shared.is_stopping()
    }

    fn spawn(
        &mut self,
        name: &str,
        run: impl FnOnce() -> io::Result<()> + Send + 'static,
    ) -> Result<(), PlaneError> {
        let (device, shared) = (self.name.clone(), self.shared.clone());
        let run = move || {
            if let Err(error) = run() {
                tracing::error!(device, %error, "the tunnel plane stopped: its device or its socket is gone");
            }
            shared.stop();
        };
        let thread = thread::Builder::new().name(name.to_owned()).spawn(run);
        self.threads.push(thread.map_err(|source| PlaneError::Thread { source })?);
        Ok(())
    }
}

impl DataPlane for UserPlane {
    fn add(&self, tunnel: TunnelId, outer: Outer, grant: Grant) -> Result<(), PlaneError> {
        Ok(self.shared.relay().table_mut().add(tunnel, outer, grant, self.shared.mtu)?)
    }

    fn move_to(&self, tunnel: TunnelId, outer: Outer) -> Result<(), PlaneError> {
        Ok(self.shared.relay().table_mut().move_to(tunnel, outer)?)
    }

    fn remove(&self, tunnel: TunnelId) -> Result<(), PlaneError> {
        self.shared.relay().table_mut().remove(tunnel);
        Ok(())
    }

    fn counters(&self) -> PlaneCounters {
        let relay = self.shared.relay();
        PlaneCounters {
            relay: relay.counters().clone(),
            send: self.shared.errors.snapshot(),
            overflows: mmsg::overflows(self.shared.socket.as_fd()).unwrap_or_default().into(),
            merged: self.shared.merged.load(Ordering::Relaxed),
            tunnels: relay.table().len(),
        }
    }

    fn traffic(&self, tunnel: TunnelId) -> Option<Traffic> {
        Some(self.shared.relay().table().tunnel(tunnel)?.traffic())
    }
}

impl Drop for UserPlane {
    fn drop(&mut self) {
        self.shared.stop();
        for thread in self.threads.drain(..) {
            let _ = thread.join();
        }
    }
}

impl Shared {
    /// The relay, for one batch or one call.
    pub(super) fn relay(&self) -> MutexGuard<'_, Relay> {
        self.relay.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Gives a packet to the inside.
    pub(super) fn to_inside(&self, packet: &[u8]) {
        if self.device.send(packet).is_err() {
            self.errors.inside();
        }
    }

    /// An identification for an IPv4 packet in fragments; never zero.
    pub(super) fn next_id(&self) -> u16 {
        self.fragment_id.fetch_add(1, Ordering::Relaxed).max(1)
    }

    fn stop(&self) {
        self.stopping.store(true, Ordering::Release);
        let _ = self.waker.wake();
        // The system says that the socket is not connected, and wakes up who waits for it all the same.
        let _ = self.socket.shutdown(Shutdown::Both);
    }

    pub(super) fn is_stopping(&self) -> bool {
        self.stopping.load(Ordering::Acquire)
    }
}

impl std::fmt::Debug for Shared {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Shared").field("stopping", &self.is_stopping()).finish_non_exhaustive()
    }
}

/// Bytes: with the outer header, the longest IPv4 packet.
const MAX_MTU: u16 = 65_515;
