//! How much of a message we are willing to read.

/// Bounds on one message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Limits {
    /// Bytes of the whole message.
    pub max_bytes: usize,
    /// Header lines.
    pub max_headers: usize,
    /// Via values: more hops than Max-Forwards allows cannot be honest.
    pub max_vias: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Limits { max_bytes: 65_535, max_headers: 256, max_vias: 70 }
    }
}
