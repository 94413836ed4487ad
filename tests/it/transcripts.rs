//! The lines of a push that tools match on are Heroku's own, to the letter.
//!
//! Source: facts on Heroku's builds, §1.4 and §1.5.

use crate::site::Site;

/// The lines of a push's answer without `remote: ` and the blanks that git adds.
fn lines(stderr: &str) -> Vec<String> {
    let remote = stderr
        .lines()
        .filter_map(|line| line.strip_prefix("remote:"));
    let line = |line: &str| line.strip_prefix(' ').unwrap_or(line).trim_end().to_owned();
    remote.map(line).collect()
}

#[track_caller]
fn in_order(lines: &[String], expected: &[&str]) {
    let mut rest = lines.iter();
    for wanted in expected {
        let matches = |line: &String| match wanted.strip_suffix('…') {
            Some(start) => line.starts_with(start),
            None => line == wanted,
        };
        assert!(
            rest.any(matches),
            "{wanted:?} is not where it should be in {lines:#?}"
        );
    }
}

#[test]
fn a_good_push_says_what_heroku_says() {
    let site = Site::new();
    let app = site.app("hello", "nodejs_http");
    let said = lines(&app.push().success().stderr);
    in_order(
        &said,
        &[
            "Building source:",
            "",
            "-----> Building on the …",
            "-----> Determining which buildpack to use for this app",
            "-----> Node.js app detected",
            "-----> Discovering process types",
            "       Procfile declares types     -> (none)",
            "       Default types for buildpack -> web",
            "-----> Compressing...",
            "       Done: …",
            "-----> Launching...",
            "       Released v…",
            "",
            "Verifying deploy... done.",
        ],
    );
    app.write(
        "Procfile",
        "worker: node x\nrelease: true\nweb: node server.js\n",
    );
    app.commit("Procfile");
    let said = lines(&app.push().success().stderr);
    in_order(
        &said,
        &[
            "-----> Using buildpack: heroku/nodejs",
            "-----> Node.js app detected",
            "       Procfile declares types -> release, web, worker",
            "-----> Compressing...",
        ],
    );
    app.slugline(&["buildpacks:add", "heroku/python"]).success();
    app.write("requirements.txt", "");
    app.commit("Both");
    let said = lines(&app.push().success().stderr);
    in_order(
        &said,
        &[
            "-----> Using buildpacks:",
            "       1. heroku/nodejs",
            "       2. heroku/python",
            "-----> Node.js app detected",
            "-----> Python app detected",
        ],
    );
}

#[test]
fn a_failed_push_says_what_heroku_says() {
    let site = Site::new();
    let app = site.app("hello", "no_language");
    let pushed = app.push().failure(1);
    in_order(
        &lines(&pushed.stderr),
        &[
            " !     No default language could be detected for this app.",
            " !     Push failed",
        ],
    );
    let rejected = " ! [remote rejected] main -> main (pre-receive hook declined)";
    assert!(pushed.stderr.contains(rejected), "{}", pushed.stderr);
    app.write("bin/detect", "#!/bin/sh\necho Shell\n");
    app.write("bin/compile", "#!/bin/sh\nexit 1\n");
    app.commit("Fail");
    app.slugline(&["buildpacks:set", "inline"]).success();
    in_order(
        &lines(&app.push().failure(1).stderr),
        &[
            " !     Push rejected, failed to compile Shell app.",
            " !     Push failed",
        ],
    );
    app.slugline(&["buildpacks:set", "heroku/python"]).success();
    in_order(
        &lines(&app.push().failure(1).stderr),
        &[
            "-----> App not compatible with buildpack: heroku/python",
            "       More info: https://devcenter.heroku.com/articles/buildpacks#detection-failure",
            " !     Push failed",
        ],
    );
}

#[test]
fn a_build_over_its_time_says_what_heroku_says() {
    let site = Site::with_env(&[("SLUGLINE_BUILD_TIMEOUT_SECONDS", "2")]);
    let app = site.app("hello", "inline_shell");
    app.write("bin/compile", "#!/bin/sh\necho begun; sleep 600\n");
    app.commit("Slow");
    app.slugline(&["buildpacks:set", "inline"]).success();
    in_order(
        &lines(&app.push().failure(1).stderr),
        &[
            "-----> Shell app detected",
            "begun",
            "-----> Timed out running buildpack Shell",
            " !     Timed out compiling Shell app (1 minutes)",
            " !     Push failed",
            "Verifying deploy...",
            "",
            "!\tPush rejected to hello.",
        ],
    );
}

#[test]
fn a_slug_that_is_too_large_says_what_heroku_says() {
    let site = Site::with_env(&[
        ("SLUGLINE_SLUG_LIMIT_BYTES", "2500000"),
        ("SLUGLINE_SLUG_WARNING_BYTES", "1100000"),
    ]);
    let app = site.app("hello", "inline_shell");
    app.slugline(&["buildpacks:set", "inline"]).success();
    let push = |bytes: u64| {
        let size = bytes / 12;
        let script = format!(
            "#!/bin/sh\nfor n in 1 2 3 4 5 6 7 8 9 10 11 12; do\n\
             mkdir \"$1/d$n\"\nhead -c {size} /dev/urandom >\"$1/d$n/data\"\ndone\n"
        );
        app.write("bin/compile", &script);
        app.commit("Data");
        app.push()
    };
    // The lines of directories below a heading.
    let told = |said: &[String], heading: &str| {
        let at = said.iter().position(|line| line.contains(heading)).unwrap();
        let below = said[at + 1..].iter().take_while(|line| line.ends_with('/'));
        below.cloned().collect::<Vec<_>>()
    };
    let (largest, grown) = ("The largest directories", "Grown since the last release:");
    let warned = lines(&push(2_000_000).success().stderr);
    in_order(
        &warned,
        &[
            "-----> Compressing...",
            "       Done: 2.0M",
            " !     Warning: Your slug size (2.0M) exceeds our soft limit (1.1M) which may affect boot time.",
            " !     The largest directories, before compression:",
            "-----> Launching...",
        ],
    );
    assert_eq!(told(&warned, largest).len(), 10, "{warned:#?}");
    let failed = lines(&push(4_000_000).failure(1).stderr);
    assert_eq!(told(&failed, largest).len(), 10, "{failed:#?}");
    let grown = told(&failed, grown);
    assert_eq!(grown.len(), 10, "{failed:#?}");
    assert!(
        grown.iter().all(|line| line.contains("+163K d")),
        "{grown:#?}"
    );
    in_order(
        &failed,
        &[
            "-----> Compressing...",
            " !     Compiled slug size: 3.9M is too large (max is 2.4M).",
            " !     The largest directories, before compression:",
            " !     Grown since the last release:",
            " !     Push failed",
            "Verifying deploy...",
            "",
            "!\tPush rejected to hello.",
        ],
    );
}
