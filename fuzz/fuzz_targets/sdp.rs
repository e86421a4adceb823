//! A session description; `b2bua_translator::testing::sdp` says what must hold.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| b2bua_translator::testing::sdp(data));
