//! Whatever a client sends as commands, what is read keeps the limits and the rules for names.
#![no_main]

use gix::hash::Kind;
use libfuzzer_sys::fuzz_target;
use slugline::receive::{Limits, Request};

fuzz_target!(|bytes: &[u8]| {
    let limits = Limits::default();
    for hash in [Kind::Sha1, Kind::Sha256] {
        let mut rest = bytes;
        let Ok(Some(request)) = Request::read(&mut rest, hash, &limits) else {
            continue;
        };
        assert!((1..=limits.commands).contains(&request.commands.len()));
        assert!(request.shallow.len() <= limits.shallow_lines);
        let mut names = std::collections::HashSet::new();
        for command in &request.commands {
            let name = &command.name;
            assert!(name.starts_with("refs/") && name.len() <= limits.ref_name_bytes);
            assert!(!name.contains("..") && !name.contains("@{") && !name.contains("//"));
            assert!(
                !name
                    .bytes()
                    .any(|byte| byte.is_ascii_control() || byte == b' ')
            );
            assert!(names.insert(name));
            for id in [command.old, command.new].into_iter().flatten() {
                assert!(id.kind() == hash && !id.is_null());
            }
        }
    }
});
