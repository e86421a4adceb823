//! Network namespaces without a name: each lives as long as its thread and its sockets, and nothing of it stays behind.

use std::io::Write;
use std::process::Command;
use std::sync::mpsc::{self, Sender};
use std::thread::{self, JoinHandle};

use nix::sched::{CloneFlags, unshare};

type Job = Box<dyn FnOnce() + Send>;

/// A network namespace, with a thread in it.
pub struct Namespace {
    jobs: Option<Sender<Job>>,
    thread: Option<JoinHandle<()>>,
    /// The thread's id, by which `ip` finds the namespace.
    id: i32,
}

impl Namespace {
    /// A fresh one, with its loopback interface up.
    pub fn new() -> Namespace {
        let (jobs, inbox) = mpsc::channel::<Job>();
        let (told, ids) = mpsc::channel();
        let thread = thread::spawn(move || {
            unshare(CloneFlags::CLONE_NEWNET).expect("a network namespace");
            told.send(nix::unistd::gettid().as_raw()).expect("a listener");
            inbox.into_iter().for_each(|job| job());
        });
        let id = ids.recv().expect("a thread in its namespace");
        let namespace = Namespace { jobs: Some(jobs), thread: Some(thread), id };
        namespace.ip("link set lo up");
        namespace
    }

    /// Runs something inside. Sockets and planes that are made there stay there, wherever they are used.
    pub fn run<T: Send + 'static>(&self, job: impl FnOnce() -> T + Send + 'static) -> T {
        let (told, results) = mpsc::channel();
        let job: Job = Box::new(move || drop(told.send(job())));
        self.jobs.as_ref().expect("a running thread").send(job).expect("a running thread");
        results.recv().expect("the job ended without a panic")
    }

    /// Runs a program inside.
    pub fn command(&self, line: &str) {
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
    pub fn ip(&self, words: &str) {
        self.command(&format!("ip {words}"));
    }

    /// Lays a cable to another namespace; its ends have these names.
    pub fn join(&self, name: &str, other: &Namespace, other_name: &str) {
        self.ip(&format!("link add {name} type veth peer name {other_name} netns {}", other.id));
        self.ip(&format!("link set {name} up"));
        other.ip(&format!("link set {other_name} up"));
    }
}

impl Drop for Namespace {
    fn drop(&mut self) {
        self.jobs.take();
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// Whether namespaces can be made here. Under `CI=true` they must.
pub fn is_possible() -> bool {
    let possible = thread::spawn(|| unshare(CloneFlags::CLONE_NEWNET).is_ok()).join().unwrap_or(false)
        && std::path::Path::new("/dev/net/tun").exists();
    assert!(possible || std::env::var("CI").as_deref() != Ok("true"), "tests of the data plane need root");
    if !possible {
        // Straight to the descriptor: the test harness would keep it back.
        let _ = writeln!(std::io::stderr(), "SKIPPED: tests of the data plane need root and /dev/net/tun");
    }
    possible
}
