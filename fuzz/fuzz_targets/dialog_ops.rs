//! Sequences of what can happen to the dialogs of one INVITE; `sip_core::testing::dialog_ops` says what must hold.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| sip_core::testing::dialog_ops(data));
