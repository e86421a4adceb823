//! The router's neighbour table overflows: every phone past a certain number goes dead, and the alarm says why.
