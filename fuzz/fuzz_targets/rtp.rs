//! Datagrams on a media stream; `b2bua_translator::testing::rtp` says what must hold.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| b2bua_translator::testing::rtp(data));
