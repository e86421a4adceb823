//! `[trace]`: which SIP messages are remembered, and where copies go.

use std::net::SocketAddr;

use super::reader::Section;

/// `[trace]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Trace {
    /// Memory for messages, in MiB a worker; 0 remembers none.
    pub memory_mib: usize,
    /// A Homer server that gets a copy of every message (HEPv3 over UDP).
    pub homer: Option<SocketAddr>,
    /// As which capture agent we send them.
    pub homer_agent: u32,
    /// The file with the password that Homer asks for.
    pub homer_password_file: Option<std::path::PathBuf>,
}

impl Trace {
    pub(super) fn read(section: &mut Section<'_, '_>) -> Self {
        let default = Trace::default();
        Trace {
            memory_mib: section.integer("memory_mib", default.memory_mib, 0..=4_096),
            homer: section.optional("homer"),
            homer_agent: section.integer("homer_agent", default.homer_agent, 0..=u32::MAX),
            homer_password_file: section.optional("homer_password_file"),
        }
    }
}

impl Default for Trace {
    fn default() -> Self {
        Trace { memory_mib: 8, homer: None, homer_agent: 2001, homer_password_file: None }
    }
}
