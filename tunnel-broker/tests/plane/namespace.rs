//! Network namespaces without a name: each lives as long as its thread and its sockets, and nothing of it stays behind.

use std::io::Write;
use std::os::fd::AsRawFd;
use std::process::Command;
use std::sync::mpsc::{self, Sender};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use nix::sched::{CloneFlags, unshare};

use crate::world::PATIENCE;

type Job = Box<dyn FnOnce() + Send>;

/// A network namespace, with a thread in it.
pub(crate) struct Namespace {
    jobs: Option<Sender<Job>>,
    thread: Option<JoinHandle<()>>,
    /// The thread's id, by which `ip` finds the namespace.
    id: i32,
}

impl Namespace {
    /// A fresh one, with its loopback interface up.
    pub(crate) fn new() -> Namespace {
        let (jobs, inbox) = mpsc::channel::<Job>();
        let (told, ids) = mpsc::channel();
        let thread = thread::spawn(move || {
            unshare(CloneFlags::CLONE_NEWNET).expect("a network namespace");
            told.send(nix::unistd::gettid().as_raw()).expect("a listener");
            inbox.into_iter().for_each(|job| job());
        });
        let id = ids.recv().expect("a thread in its namespace");
        let namespace = Namespace { jobs: Some(jobs), thread: Some(thread), id };
        namespace.run(|| {
            // A namespace begins with some of the machine's own settings; sources without a way back are part of the tests.
            for interface in ["all", "default"] {
                let _ = std::fs::write(format!("/proc/sys/net/ipv4/conf/{interface}/rp_filter"), "0");
            }
        });
        namespace.ip("link set lo up");
        namespace
    }

    /// Runs something inside. Sockets and planes that are made there stay there, wherever they are used.
    pub(crate) fn run<T: Send + 'static>(&self, job: impl FnOnce() -> T + Send + 'static) -> T {
        let (told, results) = mpsc::channel();
        let job: Job = Box::new(move || drop(told.send(job())));
        self.jobs.as_ref().expect("a running thread").send(job).expect("a running thread");
        results.recv().expect("the job ended without a panic")
    }

    /// Runs a program inside.
    pub(crate) fn command(&self, line: &str) {
        let owned = line.to_owned();
        let output = self.run(move || {
            let mut words = owned.split(' ');
            Command::new(words.next().expect("a program"))
                .args(words)
                .output()
                .expect("a program that starts")
        });
        assert!(output.status.success(), "{line}: {}", String::from_utf8_lossy(&output.stderr));
    }

    /// Runs `ip` inside.
    pub(crate) fn ip(&self, words: &str) {
        self.command(&format!("ip {words}"));
    }

    /// Gives the namespace an IPv6 address of its own, and waits until it is one: the system makes its route a moment later.
    pub(crate) fn own(&self, address: &str) {
        self.ip(&format!("addr add {address}/128 dev lo nodad"));
        let line = format!("local {address} ");
        self.await_shown("-6 route show table local", move |shown| shown.contains(&line));
    }

    /// Waits until `ip` shows what it shall.
    fn await_shown(&self, words: &str, is_right: impl Fn(&str) -> bool + Send + 'static) {
        let words = words.to_owned();
        self.run(move || {
            let started = Instant::now();
            loop {
                let output = Command::new("ip").args(words.split(' ')).output().expect("ip");
                let shown = String::from_utf8_lossy(&output.stdout);
                if is_right(&shown) {
                    return;
                }
                assert!(started.elapsed() < PATIENCE, "`ip {words}` still shows {shown}");
                thread::sleep(Duration::from_millis(1));
            }
        });
    }

    /// Packets that an end of a cable did not get rid of: the system's queue for the other end had no room.
    pub(crate) fn lost_by(&self, interface: &'static str) -> u64 {
        self.run(move || {
            let text = std::fs::read_to_string("/proc/thread-self/net/dev").expect("the interfaces");
            let line = text.lines().find_map(|line| line.trim().strip_prefix(interface)?.strip_prefix(':'));
            let dropped =
                line.expect("the interface").split_whitespace().nth(TX_DROPPED).expect("its counters");
            dropped.parse().expect("a number")
        })
    }

    /// Lays a cable to another namespace; its ends have these names. It is ready when this returns.
    pub(crate) fn join(&self, name: &str, other: &Namespace, other_name: &str) {
        self.ip(&format!("link add {name} type veth peer name {other_name} netns {}", other.id));
        self.ip(&format!("link set {name} up"));
        other.ip(&format!("link set {other_name} up"));
        // Until the system has seen to the second end, the first one swallows what it is given.
        for (namespace, name) in [(self, name), (other, other_name)] {
            let is_ready = |shown: &str| shown.contains("LOWER_UP") && !shown.contains("qdisc noop ");
            namespace.await_shown(&format!("-o link show dev {name}"), is_ready);
        }
    }
}

/// Switches something about an interface of the present namespace on or off, as the program `ethtool` does.
#[allow(unsafe_code)] // One `ioctl`; that program is seldom installed.
pub(crate) fn ethtool(interface: &str, command: u32, is_on: bool) {
    let socket = std::net::UdpSocket::bind("0.0.0.0:0").unwrap();
    let mut value = [command, u32::from(is_on)];
    let mut request = [0u8; 40];
    request[..interface.len()].copy_from_slice(interface.as_bytes());
    request[16..24].copy_from_slice(&(value.as_mut_ptr() as usize).to_ne_bytes());
    // SAFETY: `request` is as long as `struct ifreq` and holds an interface's name and a pointer to
    // `value`, a `struct ethtool_value`, which lives longer.
    let done = unsafe { libc::ioctl(socket.as_raw_fd(), libc::SIOCETHTOOL, request.as_mut_ptr()) };
    assert_eq!(done, 0, "{}", std::io::Error::last_os_error());
}

/// Lets an interface of the present namespace wait for a millisecond for further segments to merge, as one with interrupts does.
pub(crate) fn wait_to_merge(interface: &str) {
    // The settings are seen in a file system of the namespace only; a fresh mount of it ends with its shell.
    let script = format!(
        "mount -t sysfs sysfs /sys && cd /sys/class/net/{interface} && echo 1000000 > gro_flush_timeout && echo 2 > napi_defer_hard_irqs"
    );
    let status = Command::new("unshare").args(["--mount", "sh", "-c", &script]).status().unwrap();
    assert!(status.success());
}

/// Receiving: TCP segments that arrive close together are merged.
pub(crate) const ETHTOOL_SGRO: u32 = 0x2c;
/// Sending: TCP segments are left to the network card to cut.
pub(crate) const ETHTOOL_STSO: u32 = 0x1f;

/// Which number in an interface's line of `/proc/net/dev` counts packets that it could not send.
const TX_DROPPED: usize = 11;

impl Drop for Namespace {
    fn drop(&mut self) {
        self.jobs.take();
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// Whether namespaces can be made here. Under `CI=true` they must.
pub(crate) fn is_possible() -> bool {
    let possible = thread::spawn(|| unshare(CloneFlags::CLONE_NEWNET).is_ok()).join().unwrap_or(false)
        && std::path::Path::new("/dev/net/tun").exists();
    assert!(possible || std::env::var("CI").as_deref() != Ok("true"), "tests of the data plane need root");
    if !possible {
        // Straight to the descriptor: the test harness would keep it back.
        let _ = writeln!(std::io::stderr(), "SKIPPED: tests of the data plane need root and /dev/net/tun");
    }
    possible
}
