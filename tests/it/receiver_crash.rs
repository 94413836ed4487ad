//! `kill -9` at each step of a push: what the next server finds, and that the same push then goes
//! through.

use std::fs;
use std::path::Path;

use nix::sys::signal::Signal;
use slugline::fault::Step;

use crate::site::{Ran, Site, eventually, files_below};

/// The server's repository is as git wants it, and holds nothing of a push that is over.
#[track_caller]
fn assert_in_order(site: &Site, at: &str) {
    let bare = site.bare("hello");
    let fsck = site.git_in(&bare, &["fsck", "--strict", "--no-dangling"]);
    let fsck = fsck.success();
    assert_eq!((fsck.stdout, fsck.stderr), Default::default(), "{at}");
    for path in files_below(&bare) {
        let left = ["incoming-", ".lock", ".keep", "/tmp_", ".new"];
        let is_left = left.iter().any(|mark| path.contains(mark));
        assert!(!is_left, "{at}: {path}");
    }
    // A build that went well is removed behind its pusher's back.
    eventually("the scratch directory is empty", || {
        fs::read_dir(site.data().join("scratch")).unwrap().count() == 0
    });
}

/// What `main` names and what the current release was made of: they have to agree.
#[track_caller]
fn deployed(site: &Site, at: &str) -> String {
    let refs = site.git_in(
        &site.bare("hello"),
        &["for-each-ref", "--format=%(objectname)", "refs/heads/main"],
    );
    let main = refs.success().stdout.trim().to_owned();
    let release = site.api("GET", "/apps/hello/releases/current", None).1;
    assert_eq!(release["status"], "succeeded", "{at}");
    assert_eq!(
        release["description"],
        format!("Deploy {}", &main[..8]),
        "{at}"
    );
    let releases = site.api("GET", "/apps/hello/releases", None).1;
    for release in releases.as_array().unwrap() {
        assert_ne!(release["status"], "pending", "{at}");
    }
    let builds = site.api("GET", "/apps/hello/builds", None).1;
    for build in builds.as_array().unwrap() {
        assert_ne!(build["status"], "pending", "{at}");
    }
    main
}

fn commit(site: &Site, dir: &Path, text: &str) -> String {
    fs::write(dir.join("note"), text).unwrap();
    site.git_in(dir, &["add", "note"]).success();
    site.git_in(dir, &["commit", "--quiet", "--message", text])
        .success();
    site.git_in(dir, &["rev-parse", "HEAD"])
        .success()
        .stdout
        .trim()
        .to_owned()
}

fn push(site: &Site, dir: &Path, refs: &[&str]) -> Ran {
    let url = format!("{}/hello.git", site.url());
    site.git_in(dir, &[&["push", &url][..], refs].concat())
}

/// Kills the server at a step of a push and starts the next one.
fn killed_push(site: &mut Site, dir: &Path, refs: &[&str], step: Step) {
    site.stop(Signal::SIGKILL);
    assert!(site.try_start(&[], &[("SLUGLINE_FAULT", step.name())]));
    let cut = push(site, dir, refs);
    assert_ne!(cut.code, Some(0), "{}", step.name());
    assert_eq!(site.wait_for_end(), Some(9), "{}", step.name());
}

#[test]
fn a_deploy_survives_a_kill_at_each_step() {
    let mut site = Site::new();
    let dir = site.app("hello", "nodejs_http").dir;
    push(&site, &dir, &["main"]).success();
    let mut before = deployed(&site, "the first push");
    for step in Step::ALL {
        let at = step.name();
        let head = commit(&site, &dir, at);
        killed_push(&mut site, &dir, &["main"], step);
        site.start(&[]);
        assert_in_order(&site, at);
        let main = deployed(&site, at);
        // The commit point decides, and nothing else.
        let expected = if step < Step::Committed {
            &before
        } else {
            &head
        };
        assert_eq!(&main, expected, "{at}");
        let again = push(&site, &dir, &["main"]).success();
        assert_eq!(
            again.stderr.contains("Released v"),
            step < Step::Committed,
            "{at}: {}",
            again.stderr
        );
        assert_in_order(&site, at);
        assert_eq!(deployed(&site, at), head, "{at}");
        before = head;
    }
}

#[test]
fn a_recovery_survives_a_kill_at_each_step() {
    let mut site = Site::new();
    let dir = site.app("hello", "nodejs_http").dir;
    push(&site, &dir, &["main"]).success();
    for step in Step::ALL.into_iter().filter(|step| *step > Step::Committed) {
        let at = step.name();
        let head = commit(&site, &dir, at);
        killed_push(&mut site, &dir, &["main"], Step::Committed);
        for _ in 0..2 {
            // Twice: the second start finds what a start left, not what a push did.
            if !site.try_start(&[], &[("SLUGLINE_FAULT", at)]) {
                assert_eq!(site.wait_for_end(), Some(9), "{at}");
                continue;
            }
            // There was nothing left to do, so that the step was not reached.
            assert!(step <= Step::Promoted || step == Step::Closed, "{at}");
            site.stop(Signal::SIGKILL);
        }
        site.start(&[]);
        assert_in_order(&site, at);
        assert_eq!(deployed(&site, at), head, "{at}");
        let again = push(&site, &dir, &["main"]).success();
        assert_eq!(again.stderr.trim(), "Everything up-to-date", "{at}");
    }
}

#[test]
fn refs_that_are_not_deployed_survive_a_kill_at_each_step() {
    let mut site = Site::new();
    let dir = site.app("hello", "nodejs_http").dir;
    push(&site, &dir, &["main"]).success();
    let refs = ["+HEAD:topic", "+HEAD:refs/tags/one", "+HEAD:refs/tags/two"];
    let mut before = None;
    for step in Step::ALL {
        if (Step::Build..=Step::Committed).contains(&step) && step != Step::Kept {
            continue;
        }
        let at = step.name();
        let head = commit(&site, &dir, at);
        killed_push(&mut site, &dir, &refs, step);
        site.start(&[]);
        assert_in_order(&site, at);
        let format = [
            "for-each-ref",
            "--format=%(objectname)",
            "refs/heads/topic",
            "refs/tags",
        ];
        let there = site.git_in(&site.bare("hello"), &format).success().stdout;
        let expected = if step < Step::Refs {
            &before
        } else {
            &Some(head.clone())
        };
        let expected = expected
            .as_ref()
            .map_or_else(String::new, |id| format!("{id}\n").repeat(3));
        assert_eq!(there, expected, "{at}");
        push(&site, &dir, &refs).success();
        assert_in_order(&site, at);
        let there = site.git_in(&site.bare("hello"), &format).success().stdout;
        assert_eq!(there, format!("{head}\n").repeat(3), "{at}");
        before = Some(head);
    }
}
