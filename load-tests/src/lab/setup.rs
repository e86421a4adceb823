//! What a lab is made from.

use std::path::{Path, PathBuf};

use super::plan::Wishes;

/// The wishes, the binary, and how to treat both.
#[derive(Debug, Clone)]
pub struct Setup {
    pub(super) wishes: Wishes,
    pub(super) binary: PathBuf,
    pub(super) folder: Option<PathBuf>,
    pub(super) disposable: bool,
    pub(super) advertiser: Advertiser,
    pub(super) agents: bool,
    pub(super) await_phones: bool,
    pub(super) centre: Vec<(String, String)>,
    pub(super) agent: Vec<String>,
}

/// Who sends router advertisements in the dorms.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Advertiser {
    /// The agent itself.
    Agent,
    /// The program radvd beside it.
    Radvd,
}

impl Setup {
    /// A lab of this binary, for as long as people want it.
    pub fn new(binary: &Path, wishes: Wishes) -> Setup {
        Setup {
            wishes,
            binary: binary.to_owned(),
            folder: None,
            disposable: false,
            advertiser: Advertiser::Agent,
            agents: true,
            await_phones: true,
            centre: Vec::new(),
            agent: Vec::new(),
        }
    }

    /// Keeps its files in this folder instead of `/run/centrex6-lab/<name>`.
    #[must_use]
    pub fn folder(self, folder: Option<PathBuf>) -> Setup {
        Setup { folder, ..self }
    }

    /// Anybody may remove it once this process is gone.
    #[must_use]
    pub fn disposable(self) -> Setup {
        Setup { disposable: true, ..self }
    }

    /// Lets somebody else advertise.
    #[must_use]
    pub fn advertiser(self, advertiser: Advertiser) -> Setup {
        Setup { advertiser, ..self }
    }

    /// Is up without waiting for the phones: something is wrong on purpose.
    #[must_use]
    pub fn without_waiting(self) -> Setup {
        Setup { await_phones: false, ..self }
    }

    /// Is up with every IAD switched off.
    #[must_use]
    pub fn without_agents(self) -> Setup {
        Setup { agents: false, await_phones: false, ..self }
    }

    /// Changes one setting of the centre's node, like `NODE__WORKERS`.
    #[must_use]
    pub fn centre(mut self, key: &str, value: &str) -> Setup {
        self.centre.push((format!("CENTREX6__{key}"), value.to_owned()));
        self
    }

    /// Gives every agent this word of the command line.
    #[must_use]
    pub fn agent(mut self, word: &str) -> Setup {
        self.agent.push(word.to_owned());
        self
    }
}
