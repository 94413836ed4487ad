//! A hundred pushes to twenty apps, sixteen at once, half of them bad and some killed.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use crate::site::{Ran, Site, copy_dir, eventually, files_below, fixture};

const APPS: usize = 20;
const PUSHES: usize = 100;
const AT_ONCE: usize = 16;
/// Files that a server keeps open for an app, however many pushes it had: its log among them.
const OPEN_OF_APP: usize = 2;

/// What is wrong with a push.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Good,
    /// Its package.json is none.
    NoBuild,
    /// It asks for what there is not.
    Option,
    /// It would delete the deployed branch.
    Delete,
    /// The client is killed in the middle.
    Killed,
}

fn kind(number: usize) -> Kind {
    match (number + number / APPS) % 8 {
        0 | 2 | 4 | 6 => Kind::Good,
        1 => Kind::NoBuild,
        3 => Kind::Option,
        5 => Kind::Delete,
        _ => Kind::Killed,
    }
}

/// Each push comes from a work tree of its own, with a history of its own.
fn work_tree(site: &Site, number: usize) -> PathBuf {
    let dir = site.path(&format!("work-{number}"));
    copy_dir(&fixture("inline_shell"), &dir);
    let git = |arguments: &[&str]| site.git_in(&dir, arguments).success();
    git(&["init", "--quiet", "--initial-branch=main"]);
    fs::write(dir.join("number"), format!("{number}\n")).unwrap();
    if kind(number) == Kind::NoBuild {
        fs::write(
            dir.join("bin/compile"),
            "#!/bin/sh\necho this build fails on purpose\nexit 1\n",
        )
        .unwrap();
    }
    git(&["add", "--all"]);
    git(&["commit", "--quiet", "-m", "One"]);
    dir
}

fn push(site: &Site, number: usize, dir: &Path) -> Option<Ran> {
    let url = format!("{}/app-{}.git", site.url(), number % APPS);
    let arguments: &[&str] = match kind(number) {
        Kind::Option => &["push", "--force", "-o", "nothing", &url, "main"],
        Kind::Delete => &["push", &url, ":main"],
        _ => &["push", "--force", &url, "main"],
    };
    if kind(number) != Kind::Killed {
        // Another push may have come in between: then its pusher pushes again.
        let overtaken = [
            "the reference has moved",
            "reference already exists",
            "failed to lock",
        ];
        for _ in 0..50 {
            let ran = site.git_in(dir, arguments);
            if !overtaken.iter().any(|reason| ran.stderr.contains(reason)) {
                return Some(ran);
            }
        }
        panic!("push {number} was overtaken again and again");
    }
    let mut client = site
        .git_command_in(dir, arguments)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    thread::sleep(Duration::from_millis(20 * (number as u64 % 20)));
    let _ = client.kill();
    client.wait().unwrap();
    None
}

fn open_files(pid: u32) -> usize {
    fs::read_dir(format!("/proc/{pid}/fd")).unwrap().count()
}

fn children(pid: u32) -> usize {
    let tasks = fs::read_dir(format!("/proc/{pid}/task")).unwrap();
    let of = |task: fs::DirEntry| fs::read_to_string(task.path().join("children"));
    let ids = tasks.flatten().filter_map(|task| of(task).ok());
    ids.map(|ids| ids.split_whitespace().count()).sum()
}

#[test]
fn a_hundred_pushes_at_once() {
    let site = Site::with(&["--max-builds", "4"]);
    for app in 0..APPS {
        let name = format!("app-{app}");
        site.slugline(&["apps", "create", &name]).success();
        let inline = ["buildpacks", "set", "inline", "-a", &name];
        site.slugline(&inline).success();
    }
    let trees = (0..PUSHES)
        .map(|number| work_tree(&site, number))
        .collect::<Vec<_>>();
    let before = open_files(site.server_id());
    let (next, done) = (AtomicUsize::new(0), Mutex::new(BTreeMap::new()));
    thread::scope(|scope| {
        for _ in 0..AT_ONCE {
            scope.spawn(|| {
                loop {
                    let number = next.fetch_add(1, Ordering::SeqCst);
                    let Some(dir) = trees.get(number) else { return };
                    let ran = push(&site, number, dir);
                    done.lock().unwrap().insert(number, ran);
                }
            });
        }
    });
    // Those whose clients were killed may still be ended.
    eventually("no build is under way", || {
        (0..APPS).all(|app| {
            let path = format!("/apps/app-{app}/builds");
            let builds = site.api("GET", &path, None).1;
            let builds = builds.as_array().unwrap().clone();
            builds.iter().all(|build| build["status"] != "pending")
        })
    });

    let good = every_push_got_its_answer(&site, &trees, &done.into_inner().unwrap());
    assert!(good >= PUSHES * 2 / 5, "{good}");
    // A killed client's push may have been past its commit point.
    assert!(deploys_that_agree(&site) >= good);
    // What the releases run is no leak of their pushes.
    for app in 0..APPS {
        let name = format!("app-{app}");
        if site.api("GET", &format!("/apps/{name}/dynos"), None).1 != serde_json::json!([]) {
            site.slugline(&["ps", "scale", "web=0", "-a", &name])
                .success();
        }
    }
    eventually("nothing is left of any push", || {
        let scratch = fs::read_dir(site.data().join("scratch")).unwrap().count();
        let leaked = open_files(site.server_id()).saturating_sub(before);
        scratch == 0 && children(site.server_id()) == 0 && leaked <= 8 + OPEN_OF_APP * APPS
    });
}

/// How many of the pushes deployed, of those whose clients lived.
fn every_push_got_its_answer(
    site: &Site,
    trees: &[PathBuf],
    done: &BTreeMap<usize, Option<Ran>>,
) -> usize {
    let mut good = 0;
    for (number, ran) in done {
        let Some(ran) = ran else { continue };
        let text = &ran.stderr;
        match kind(*number) {
            Kind::Good => {
                assert_eq!(ran.code, Some(0), "{number}: {text}");
                assert!(text.contains("Verifying deploy... done."), "{text}");
                let head = site.git_in(&trees[*number], &["rev-parse", "HEAD"]);
                let head = head.success().stdout;
                let path = format!("/apps/app-{}/builds", number % APPS);
                let builds = site.api("GET", &path, None).1;
                let released = builds.as_array().unwrap().iter().any(|build| {
                    build["status"] == "succeeded"
                        && !build["release"].is_null()
                        && build["source_blob"]["version"] == head.trim()
                });
                assert!(released, "{number}: {builds}");
                good += 1;
            }
            Kind::NoBuild => {
                assert_eq!(ran.code, Some(1), "{number}: {text}");
                assert!(text.contains("this build fails on purpose"), "{text}");
            }
            Kind::Option => {
                assert_eq!(ran.code, Some(1), "{number}: {text}");
                assert!(text.contains("known are:"), "{text}");
            }
            Kind::Delete => {
                assert_eq!(ran.code, Some(1), "{number}: {text}");
                let reasons = ["refusing to delete main", "remote ref does not exist"];
                assert!(reasons.iter().any(|reason| text.contains(reason)), "{text}");
            }
            Kind::Killed => unreachable!(),
        }
    }
    good
}

/// How many deploys there were, after builds, releases and branches of each app agreed.
fn deploys_that_agree(site: &Site) -> usize {
    let mut deploys = 0;
    for app in 0..APPS {
        let name = format!("app-{app}");
        let list = |what: &str| {
            let listed = site.api("GET", &format!("/apps/{name}/{what}"), None).1;
            listed.as_array().unwrap().clone()
        };
        let releases = list("releases");
        let deployed = releases.iter().filter(|one| !one["slug"].is_null()).count();
        assert!(releases.iter().all(|one| one["status"] == "succeeded"));
        let succeeded = list("builds")
            .iter()
            .filter(|one| one["status"] == "succeeded")
            .count();
        assert_eq!(succeeded, deployed, "{name}");
        let bare = site.bare(&name);
        site.git_in(&bare, &["fsck", "--strict"]).success();
        let head = site.git_in(&bare, &["rev-parse", "--verify", "--quiet", "main"]);
        assert_eq!(head.code == Some(0), deployed > 0, "{name}");
        deploys += deployed;
        let left = files_below(&bare);
        let unfinished = |path: &&String| {
            let extension = Path::new(path).extension();
            path.contains("incoming-") || extension.is_some_and(|ext| ext == "lock")
        };
        let left = left.iter().filter(unfinished);
        assert_eq!(left.collect::<Vec<_>>(), Vec::<&String>::new());
    }
    deploys
}
