//! Where a lab keeps its state, and whose it is: so that everything can be removed, also after a crash.

use std::fs::{self, File};
use std::path::{Path, PathBuf};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde::{Deserialize, Serialize};

use super::error::LabError;
use super::namespace::Namespace;
use super::plan;

/// A lab's folder. Files of nodes, logs and the control socket lie in it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Folder {
    name: String,
    path: PathBuf,
}

/// Who keeps a lab, in `owner.json`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Owner {
    /// The process.
    pub pid: u32,
    /// When it started, in clock ticks since boot: a process id comes back, this does not.
    pub started: u64,
    /// Whether anybody may remove the lab once the process is gone: a test's lab.
    pub disposable: bool,
}

impl Folder {
    /// The folder of the lab called so: below `/run/centrex6-lab`, or the one named.
    pub fn of(name: &str, chosen: Option<&Path>) -> Folder {
        let path = chosen.map_or_else(|| Path::new(ROOT).join(name), Path::to_owned);
        Folder { name: name.to_owned(), path }
    }

    /// Makes it, owned by this process. Removes labs of tests that have died first.
    ///
    /// # Errors
    /// When there is a lab of this name, or the system refuses.
    pub fn claim(&self, disposable: bool) -> Result<(), LabError> {
        let _lock = lock()?;
        reap();
        let exists = || LabError::Exists { name: self.name.clone() };
        if self.path.join(OWNER).exists() || !Namespace::all(&plan::prefix(&self.name)).is_empty() {
            return Err(exists());
        }
        fs::create_dir_all(&self.path).map_err(LabError::io(format!("make {}", self.path.display())))?;
        let owner = Owner { disposable, ..Owner::this()? };
        let text = serde_json::to_string(&owner).unwrap_or_default();
        let file = self.path.join(OWNER);
        fs::write(&file, text).map_err(LabError::io(format!("write {}", file.display())))
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// A file in it.
    pub fn file(&self, name: &str) -> PathBuf {
        self.path.join(name)
    }

    /// A new folder in it.
    ///
    /// # Errors
    /// When the system refuses.
    pub fn make(&self, name: &str) -> Result<PathBuf, LabError> {
        let path = self.path.join(name);
        fs::create_dir_all(&path).map_err(LabError::io(format!("make {}", path.display())))?;
        Ok(path)
    }

    /// The owner, when the folder has one.
    pub fn owner(&self) -> Option<Owner> {
        serde_json::from_str(&fs::read_to_string(self.path.join(OWNER)).ok()?).ok()
    }

    /// Removes every process, namespace and file of the lab, whatever is left of it. Gives how many namespaces there were.
    ///
    /// # Errors
    /// With the first that the system refuses; the others are gone.
    pub fn remove(&self) -> Result<usize, LabError> {
        let namespaces = Namespace::all(&plan::prefix(&self.name));
        let outcomes: Vec<_> = namespaces.iter().map(Namespace::delete).collect();
        let count = outcomes.iter().filter(|outcome| outcome.is_ok()).count();
        outcomes.into_iter().collect::<Result<(), _>>()?;
        // Only a folder that is a lab's is removed: --dir can name any.
        if self.path.join(OWNER).exists() {
            let what = format!("remove {}", self.path.display());
            fs::remove_dir_all(&self.path).map_err(LabError::io(what))?;
        }
        Ok(count)
    }
}

impl Owner {
    fn this() -> Result<Owner, LabError> {
        let pid = std::process::id();
        let started = started(pid).ok_or(LabError::Kernel { what: "tell when a process started" })?;
        Ok(Owner { pid, started, disposable: false })
    }

    /// Kills the process.
    pub fn kill(&self) {
        if self.lives()
            && let Ok(pid) = i32::try_from(self.pid)
        {
            // A failure means that it ended meanwhile.
            let _ = kill(Pid::from_raw(pid), Signal::SIGKILL);
        }
    }

    /// Whether the process lives.
    pub fn lives(&self) -> bool {
        started(self.pid) == Some(self.started)
    }
}

/// One lab is claimed at a time, so that nobody takes one in the making for a ruin.
fn lock() -> Result<File, LabError> {
    let what = || format!("lock {ROOT}");
    fs::create_dir_all(ROOT).map_err(LabError::io(what()))?;
    let file = File::create(Path::new(ROOT).join(LOCK)).map_err(LabError::io(what()))?;
    file.lock().map_err(LabError::io(what()))?;
    Ok(file)
}

/// Removes the labs of tests whose process is gone.
fn reap() {
    let Ok(entries) = fs::read_dir(ROOT) else { return };
    for name in entries.flatten().filter_map(|entry| entry.file_name().into_string().ok()) {
        let folder = Folder::of(&name, None);
        if folder.owner().is_some_and(|owner| owner.disposable && !owner.lives()) {
            // What cannot be removed now is tried again by the next one.
            let _ = folder.remove();
        }
    }
}

/// The 22nd field of proc_pid_stat(5); the second may hold spaces and parentheses.
fn started(pid: u32) -> Option<u64> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let (_, rest) = stat.rsplit_once(')')?;
    rest.split_whitespace().nth(19)?.parse().ok()
}

const ROOT: &str = "/run/centrex6-lab";
const OWNER: &str = "owner.json";
const LOCK: &str = ".lock";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_owner_lives_while_its_process_does() {
        let owner = Owner::this().unwrap();
        assert!(owner.lives());
        assert!(
            !Owner { started: owner.started + 1, ..owner.clone() }.lives(),
            "another process with its id"
        );
        assert!(!Owner { pid: u32::MAX, ..owner }.lives());
    }

    #[test]
    fn only_a_folder_of_a_lab_is_removed() {
        let other = tempfile::tempdir().unwrap();
        fs::write(other.path().join("precious"), "").unwrap();
        let folder = Folder::of("nosuchlab", Some(other.path()));
        assert_eq!(folder.remove().unwrap(), 0);
        assert!(other.path().join("precious").exists());
    }
}
