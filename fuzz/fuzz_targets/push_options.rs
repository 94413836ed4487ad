//! Whatever a client sends as push options, only those are taken that there are.
#![no_main]

use gix::hash::Kind;
use libfuzzer_sys::fuzz_target;
use slugline::receive::{Error, Limits, PushOptions, Request};

fuzz_target!(|bytes: &[u8]| {
    let id = "1".repeat(40);
    let line = format!("{} {id} refs/heads/a\0push-options", "0".repeat(40));
    let mut body = format!("{:04x}{line}0000", line.len() + 4).into_bytes();
    body.extend_from_slice(bytes);
    match Request::read(&mut &body[..], Kind::Sha1, &Limits::default()) {
        Ok(Some(request)) => {
            // What stands before the first flush names every option that was taken.
            let text = String::from_utf8_lossy(bytes);
            let PushOptions {
                plan,
                no_release,
                trace,
            } = request.options;
            for (taken, name) in [(plan, "plan"), (no_release, "no-release"), (trace, "trace")] {
                assert!(!taken || text.contains(name));
            }
        }
        Ok(None) => panic!("there is a command"),
        Err(rejected) => {
            if let Error::PushOption { got } = rejected.error {
                assert!(!PushOptions::NAMES.contains(&got.as_str()));
            }
        }
    }
});
