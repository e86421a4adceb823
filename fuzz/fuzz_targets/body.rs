//! The body of a message: its Content-Type, a line feed, its bytes; `b2bua_translator::testing::body` says what must hold.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| b2bua_translator::testing::body(data));
