//! A private PostgreSQL for tests: the Debian package's binaries, a cluster in a temporary directory, a Unix socket and no port.
//!
//! A cluster ends with its handle, and with the test's process however that ends: a shell waits for the end of a pipe whose other end only
//! this process holds, then stops the server and removes the directory.

use std::ffi::OsStr;
use std::fs;
use std::io::{self, BufRead, BufReader, Write};
use std::os::unix::fs::chown;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::mpsc;
use std::thread;

use sqlx::postgres::PgConnectOptions;
use sqlx::{AssertSqlSafe, ConnectOptions, Connection};

/// A running cluster.
#[derive(Debug)]
pub struct Cluster {
    shell: Child,
    directory: PathBuf,
    databases: AtomicU32,
}

/// Why there is no cluster.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ClusterError {
    /// The binaries are nowhere.
    #[error("PostgreSQL is not installed: run apt-get install postgresql")]
    NotInstalled,
    /// The server must not run as root, and there is no user for it.
    #[error("running as root, and there is no user postgres to run the server as")]
    NoUser,
    /// A step failed.
    #[error("{step}: {source}")]
    Io {
        /// What was being done.
        step: &'static str,
        /// Why it failed.
        source: io::Error,
    },
    /// The server did not come up.
    #[error("{step} failed:\n{output}")]
    Failed {
        /// What was being done.
        step: &'static str,
        /// What it said.
        output: String,
    },
}

/// The cluster that all tests of this process share, started by the first of them. Nothing, said loudly, when PostgreSQL is not installed.
///
/// # Panics
/// When PostgreSQL is not installed and `CI=true`, and when it is installed and does not start.
#[allow(clippy::panic, reason = "it is how a test fails")]
pub fn shared() -> Option<&'static Cluster> {
    static SHARED: OnceLock<Option<Cluster>> = OnceLock::new();
    let cluster = SHARED.get_or_init(|| match Cluster::start() {
        Ok(cluster) => Some(cluster),
        Err(ClusterError::NotInstalled) if std::env::var_os("CI").is_none_or(|value| value != "true") => None,
        Err(error) => panic!("no PostgreSQL for the tests: {error}"),
    });
    if cluster.is_none() {
        // Not eprintln!, which the test harness keeps to itself when the test passes.
        let _ = writeln!(io::stderr(), "SKIPPED: {}", ClusterError::NotInstalled);
    }
    cluster.as_ref()
}

impl Cluster {
    /// Makes a cluster and waits until it answers.
    ///
    /// # Errors
    /// [`ClusterError`].
    pub fn start() -> Result<Cluster, ClusterError> {
        let binaries = binaries().ok_or(ClusterError::NotInstalled)?;
        let made = tempfile::Builder::new().prefix("centrex6-pg-").tempdir();
        let directory = made.map_err(|source| ClusterError::Io { step: "making a directory", source })?;
        let user = server_user(directory.path())?;
        if let Some((uid, gid)) = user {
            let given = chown(directory.path(), Some(uid), Some(gid));
            given.map_err(|source| ClusterError::Io { step: "giving the directory to postgres", source })?;
        }
        let command = |program: &OsStr| {
            let mut command = Command::new(program);
            command.current_dir(directory.path()).env("LC_ALL", "C");
            if let Some((uid, gid)) = user {
                command.uid(uid).gid(gid);
            }
            command
        };
        let data = directory.path().join("data");
        let mut initdb = command(binaries.join("initdb").as_os_str());
        initdb.args([
            "--auth=trust",
            "--username=postgres",
            "--no-sync",
            "--encoding=UTF8",
            "--no-locale",
            "-D",
        ]);
        let output = initdb.arg(&data).stdin(Stdio::null()).output();
        let output = output.map_err(|source| ClusterError::Io { step: "starting initdb", source })?;
        if !output.status.success() {
            let output = String::from_utf8_lossy(&output.stderr).into_owned();
            return Err(ClusterError::Failed { step: "initdb", output });
        }
        let mut shell = command(OsStr::new("/bin/sh"));
        shell.args(["-c", SUPERVISOR, "centrex6-pg"]).arg(directory.path()).arg(binaries.join("postgres"));
        shell.arg("-D").arg(&data).arg("-k").arg(directory.path());
        for setting in [
            "listen_addresses=",
            "fsync=off",
            "full_page_writes=off",
            "max_connections=200",
            "shared_buffers=32MB",
        ] {
            shell.args(["-c", setting]);
        }
        // Its own process group: an interrupt from the keyboard is for the test, and the server goes with it in order.
        shell.process_group(0).stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::piped());
        let mut shell =
            shell.spawn().map_err(|source| ClusterError::Io { step: "starting postgres", source })?;
        let said = shell.stderr.take().map(BufReader::new);
        // From here on the shell removes the directory.
        let cluster = Cluster { shell, directory: directory.keep(), databases: AtomicU32::new(0) };
        match said.map(wait_until_ready) {
            Some(Ok(())) => Ok(cluster),
            Some(Err(output)) => Err(ClusterError::Failed { step: "postgres", output }),
            None => Err(ClusterError::Failed { step: "postgres", output: "no output".to_owned() }),
        }
    }

    /// Makes an empty database and gives its URL, for [`open`](crate::open).
    ///
    /// # Errors
    /// When the server does not do it.
    pub async fn database(&self) -> Result<String, sqlx::Error> {
        let name = format!("test{}", self.databases.fetch_add(1, Ordering::Relaxed));
        let options: PgConnectOptions = self.url("postgres").parse()?;
        let mut connection = options.connect().await?;
        sqlx::query(AssertSqlSafe(format!("CREATE DATABASE {name}"))).execute(&mut connection).await?;
        connection.close().await?;
        Ok(self.url(&name))
    }

    fn url(&self, database: &str) -> String {
        format!("postgres:///{database}?host={}&user=postgres", self.directory.display())
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        drop(self.shell.stdin.take());
        // It was started by us and has no other way than to end.
        let _ = self.shell.wait();
    }
}

/// The newest of Debian's versions.
fn binaries() -> Option<PathBuf> {
    let versions = fs::read_dir("/usr/lib/postgresql").ok()?.filter_map(Result::ok);
    let version =
        |path: &Path| path.file_name().and_then(OsStr::to_str).and_then(|name| name.parse::<u32>().ok());
    let versions = versions.filter_map(|entry| Some((version(&entry.path())?, entry.path().join("bin"))));
    let usable = versions.filter(|(_, bin)| bin.join("initdb").exists() && bin.join("postgres").exists());
    usable.max_by_key(|(version, _)| *version).map(|(_, bin)| bin)
}

/// PostgreSQL refuses to run as root. The owner of a file that we just made tells who we are.
fn server_user(made: &Path) -> Result<Option<(u32, u32)>, ClusterError> {
    use std::os::unix::fs::MetadataExt;
    let owner = fs::metadata(made)
        .map_err(|source| ClusterError::Io { step: "reading the directory", source })?
        .uid();
    if owner != 0 {
        return Ok(None);
    }
    let users = fs::read_to_string("/etc/passwd")
        .map_err(|source| ClusterError::Io { step: "reading /etc/passwd", source })?;
    let fields = users.lines().map(|line| line.split(':').collect::<Vec<_>>());
    let found = fields.into_iter().find_map(|fields| match fields.as_slice() {
        ["postgres", _, uid, gid, ..] => Some((uid.parse().ok()?, gid.parse().ok()?)),
        _ => None,
    });
    found.map(Some).ok_or(ClusterError::NoUser)
}

/// Reads what the server says until it is ready. A thread reads on, so that the server never waits for us.
fn wait_until_ready(mut said: impl BufRead + Send + 'static) -> Result<(), String> {
    let (sender, ready) = mpsc::channel();
    thread::spawn(move || {
        let (mut output, mut line) = (String::new(), String::new());
        while said.read_line(&mut line).is_ok_and(|bytes| bytes > 0) {
            if line.contains("ready to accept connections") {
                // Nobody may be waiting any more.
                let _ = sender.send(Ok(()));
            }
            if output.len() < 64 * 1024 {
                output.push_str(&line);
            }
            line.clear();
        }
        let _ = sender.send(Err(output));
    });
    ready.recv().unwrap_or_else(|_| Err("its output ended".to_owned()))
}

/// `$1` is the directory, the rest is the server's command line.
const SUPERVISOR: &str = r#"
trap '' INT TERM HUP
directory=$1
shift
"$@" </dev/null &
server=$!
read -r _
kill -QUIT "$server" 2>/dev/null
wait "$server"
cd /
rm -rf "$directory"
"#;
