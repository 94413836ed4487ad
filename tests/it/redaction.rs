//! What differs from run to run, taken out of what people read.

/// Replaces what differs from run to run and from machine to machine: ids, object ids, durations,
/// the stack and its tools' versions.
pub fn redact(text: &str) -> String {
    let stack = slugline::platform::settings::stack_of_os_release(
        &std::fs::read_to_string("/etc/os-release").unwrap(),
    );
    let redact_line = |line: &str| {
        let words = line.split(' ').map(|word| {
            let bare = word.trim_end_matches([':', '.', ',', ')', ']']);
            let name = if is_uuid(bare) {
                "[id]"
            } else if is_range(bare) {
                "[old..new]"
            } else if bare == stack {
                "[stack]"
            } else if is_version(bare) {
                "[version]"
            } else if is_duration(bare.trim_start_matches('[')) {
                "[time]"
            } else if bare.starts_with("/usr/bin/python") {
                "[python]"
            } else {
                bare
            };
            format!("{name}{}", &word[bare.len()..])
        });
        words.collect::<Vec<_>>().join(" ") + "\n"
    };
    text.replace("level 1 (root)", "[level]")
        .replace("level 2 (user namespaces)", "[level]")
        .lines()
        .map(redact_line)
        .collect()
}

fn is_version(text: &str) -> bool {
    let parts = text.split('.').collect::<Vec<_>>();
    parts.len() > 1
        && parts
            .iter()
            .all(|part| !part.is_empty() && part.bytes().all(|b| b.is_ascii_digit()))
}

fn is_duration(text: &str) -> bool {
    let number = text.trim_end_matches("ms").trim_end_matches('s');
    let digits = |part: &str| !part.is_empty() && part.bytes().all(|b| b.is_ascii_digit());
    number.len() < text.len() && number.split('.').count() <= 2 && number.split('.').all(digits)
}

fn is_uuid(text: &str) -> bool {
    text.len() == 36
        && text.bytes().enumerate().all(|(i, b)| {
            if [8, 13, 18, 23].contains(&i) {
                b == b'-'
            } else {
                b.is_ascii_hexdigit()
            }
        })
}

fn is_range(text: &str) -> bool {
    let hex = |text: &str| text.len() >= 7 && text.bytes().all(|b| b.is_ascii_hexdigit());
    text.split_once("..")
        .is_some_and(|(old, new)| hex(old) && hex(new.trim_start_matches('.')))
}
