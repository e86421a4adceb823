//! `[log]`: what is logged, and how.

use std::str::FromStr;

use tracing_subscriber::EnvFilter;

use super::reader::Section;

/// `[log]`.
#[derive(Debug, Clone, PartialEq)]
pub struct Log {
    /// Text or JSON.
    pub format: LogFormat,
    /// What is logged, in the syntax of `tracing_subscriber::EnvFilter`: `info`, `info,sip_proxy=debug`.
    pub level: String,
    /// Whether subscriber numbers are masked.
    pub mask_numbers: bool,
    /// Whether network addresses are masked.
    pub mask_addresses: bool,
}

impl Log {
    pub(super) fn read(section: &mut Section<'_, '_>) -> Self {
        let default = Log::default();
        let log = Log {
            format: section.parsed("format", default.format),
            level: section.text("level", &default.level),
            mask_numbers: section.flag("mask_numbers", default.mask_numbers),
            mask_addresses: section.flag("mask_addresses", default.mask_addresses),
        };
        if let Err(error) = EnvFilter::builder().parse(&log.level) {
            section.refuse(
                "level",
                format!("{error}; expected error, warn, info, debug or trace, or target=level pairs"),
            );
        }
        log
    }
}

impl Default for Log {
    fn default() -> Self {
        Log { format: LogFormat::Auto, level: "info".to_owned(), mask_numbers: false, mask_addresses: false }
    }
}

/// How log lines look.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogFormat {
    /// Text on a terminal, JSON elsewhere.
    Auto,
    /// Text.
    Text,
    /// One JSON object a line.
    Json,
}

/// No format has this name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("unknown log format {0:?}: expected auto, text or json")]
pub struct UnknownFormat(String);

impl FromStr for LogFormat {
    type Err = UnknownFormat;

    fn from_str(word: &str) -> Result<Self, Self::Err> {
        match word {
            "auto" => Ok(LogFormat::Auto),
            "text" => Ok(LogFormat::Text),
            "json" => Ok(LogFormat::Json),
            _ => Err(UnknownFormat(word.to_owned())),
        }
    }
}
