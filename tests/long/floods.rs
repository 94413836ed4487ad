//! What builds print, far more of it than anybody reads.

use std::fs;

use super::site::Site;

/// Most memory that the server has had, in bytes.
fn most_memory(site: &Site) -> u64 {
    let status = fs::read_to_string(format!("/proc/{}/status", site.server_id())).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let kib = line.unwrap().trim().trim_end_matches(" kB");
    kib.parse::<u64>().unwrap() << 10
}

/// Pushes a build that prints what a command does; gives the log, and how much more memory the
/// server has needed for it.
fn flooded(command: &str) -> (Vec<u8>, u64) {
    let site = Site::new();
    let app = site.app("hello", "inline_shell");
    app.slugline(&["buildpacks:set", "inline"]).success();
    app.write("bin/compile", "#!/bin/sh\necho quiet\n");
    app.commit("Quiet");
    app.push().success();
    let before = most_memory(&site);
    app.write(
        "bin/compile",
        &format!("#!/bin/sh\n{command}\necho; echo its last words\n"),
    );
    app.commit("Flood");
    app.push().success();
    let after = most_memory(&site);
    // The stored log is read again by the build's id, and without one it is the newest's.
    let builds = site.api("GET", "/apps/hello/builds", None).1;
    let id = builds.as_array().unwrap().last().unwrap()["id"]
        .as_str()
        .unwrap()
        .to_owned();
    let log = fs::read(site.data().join(format!("logs/{id}.log"))).unwrap();
    let read = app.slugline(&["builds", "output", &id]).success().stdout;
    assert_eq!(read, String::from_utf8_lossy(&log));
    assert_eq!(app.slugline(&["builds", "output"]).success().stdout, read);
    (log, after - before)
}

#[test]
fn ten_gigabytes_of_log_are_cut_at_a_named_limit() {
    let (log, more) = flooded("yes 'a line of a flood that nobody can read' | head -c 10000000000");
    let text = String::from_utf8_lossy(&log);
    assert!(
        text.contains("The output of this buildpack is longer than 32 MiB; the rest is not shown.")
    );
    assert!(text.contains("bytes of output are not shown. Its last words:"));
    assert!(text.contains("its last words"));
    assert!(log.len() < 34 << 20, "{} bytes", log.len());
    assert!(more < 64 << 20, "{more} bytes more of memory");
}

#[test]
fn a_line_of_a_gigabyte_is_cut_at_a_named_limit() {
    let (log, more) = flooded("head -c 1000000000 /dev/zero | tr '\\0' x");
    let text = String::from_utf8_lossy(&log);
    assert!(text.contains("This line is longer than 64 KiB; the rest of it is not shown."));
    assert!(text.contains("its last words"));
    assert!(log.len() < 34 << 20, "{} bytes", log.len());
    assert!(more < 64 << 20, "{more} bytes more of memory");
}
