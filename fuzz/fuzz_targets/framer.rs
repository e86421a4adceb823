//! One stream: the first byte is the size of the reads.

#![no_main]

#[allow(dead_code)] // Each target uses one entry of the file that all share.
#[path = "../../sip-core/tests/wire/entry.rs"]
mod entry;

libfuzzer_sys::fuzz_target!(|data: &[u8]| entry::framer(data));
