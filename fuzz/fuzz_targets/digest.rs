//! One Authorization value: nobody gets in.

#![no_main]

#[allow(dead_code)] // Each target uses one entry of the file that all share.
#[path = "../../sip-core/tests/wire/entry.rs"]
mod entry;

libfuzzer_sys::fuzz_target!(|data: &[u8]| entry::digest(data));
