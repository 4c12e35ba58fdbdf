#![no_main]
libfuzzer_sys::fuzz_target!(|data: &[u8]| hopbox_fuzz::targets::shield(data));
