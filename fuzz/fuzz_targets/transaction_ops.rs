//! Sequences of what can happen to a transaction layer; `sip_core::testing::transaction_ops` says what must hold.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| sip_core::testing::transaction_ops(data));
