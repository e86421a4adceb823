//! Sequences of what can happen to the calls of a translator; `b2bua_translator::testing::call_ops` says what must hold.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| b2bua_translator::testing::call_ops(data));
