//! Any bytes as a config: a config or problems that can be shown, and no config differs from itself.

#![no_main]

use std::path::Path;

use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    // No file of the machine is to be read, as includes and secrets would.
    if bytes.windows(7).any(|word| word == b"include")
        || bytes.windows(5).any(|word| word == b"file:")
    {
        return;
    }
    let environment = |name: &str| (name == "HOME").then(|| "/root".to_owned());
    match cafe::config::load_bytes(Path::new("/etc/cafe/cafe.ron"), bytes, &environment) {
        Ok(config) => assert!(cafe::config::diff(&config, &config).is_empty()),
        Err(problems) => assert!(!problems.render(false).is_empty()),
    }
});
