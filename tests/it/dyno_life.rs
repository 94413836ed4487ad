//! How large dynos are, when they sleep, wake and begin anew, and what of them is kept at hand.

use nix::sys::signal::Signal;
use serde_json::json;

use crate::dynos::{deployed, get, log, logged, reaches, states};
use crate::site::{Site, eventually};

/// A site whose server has these settings.
fn site_with(settings: &str) -> Site {
    let mut site = Site::without_server();
    std::fs::create_dir_all(site.data()).unwrap();
    std::fs::write(site.data().join("slugline.yml"), settings).unwrap();
    site.start(&[]);
    site
}

#[test]
fn sizes_are_chosen_shown_kept_and_enforced() {
    let settings = "dyno_memory_bytes: 134217728\n\
        dyno_sizes: {small: {memory_bytes: 67108864, processes: 40, cpu_percent: 50}}\n";
    for mut site in [site_with(settings), Site::of_plain_user()] {
        site.stop(Signal::SIGTERM);
        std::fs::write(site.data().join("slugline.yml"), settings).unwrap();
        site.start(&[]);
        sizes(&mut site);
    }
}

fn sizes(site: &mut Site) {
    let app = deployed(site, "hello");
    let scaled = app
        .slugline(&["ps:scale", "web=2:small", "worker=1"])
        .success();
    assert!(
        scaled.stderr.contains("web=2:small worker=1:standard-1x"),
        "{scaled:?}"
    );
    reaches(site, "hello", &["web.1 up", "web.2 up", "worker.1 up"]);
    assert_eq!(get(site, "hello", "/").0, 200);
    logged(site, "hello", "Scaled to web@2:small worker@1:standard-1x");
    let shown = app.slugline(&["ps"]).success().stdout;
    assert!(shown.contains("=== web (small): ") && shown.contains("=== worker (standard-1x): "));
    app.slugline(&["ps:scale", "web=1"]).success();
    drop(app);

    // Across a server's end.
    site.stop(Signal::SIGKILL);
    site.start(&[]);
    reaches(site, "hello", &["web.1 up", "worker.1 up"]);
    assert_eq!(get(site, "hello", "/eat/70").1, "eaten");
    logged(
        site,
        "hello",
        "heroku[web.1]: Error R14 (Memory quota exceeded) -> small has 64M",
    );
    let _ = std::panic::catch_unwind(|| get(site, "hello", "/eat/130"));
    logged(
        site,
        "hello",
        "heroku[web.1]: Error R15 (Memory quota vastly exceeded) -> small has 64M",
    );
    reaches(site, "hello", &["web.1 up", "worker.1 up"]);

    // All types at once, and by the API in either form.
    let resized = site
        .slugline(&["ps:type", "-a", "hello", "Standard-2X"])
        .success();
    assert!(
        resized
            .stderr
            .contains("web=1:standard-2x worker=1:standard-2x")
    );
    reaches(site, "hello", &["web.1 up", "worker.1 up"]);
    eventually("more room", || get(site, "hello", "/eat/130").1 == "eaten");
    let body = json!({ "dyno_size": { "name": "standard-1x" } });
    let (status, shown) = site.api("PATCH", "/apps/hello/formation/worker", Some(body));
    assert_eq!((status, &shown["size"]), (200, &json!("standard-1x")));
    assert_eq!(shown["dyno_size"]["name"], "standard-1x");
    let unknown = site.slugline(&["ps:type", "-a", "hello", "web=huge"]);
    let unknown = unknown.failure(2);
    assert!(
        unknown
            .stderr
            .contains("There are: small, standard-1x, standard-2x.")
    );
    // So does a one-off dyno.
    let ran = site.slugline(&["run", "-a", "hello", "--size", "small", "--", "ulimit -u"]);
    assert_eq!(ran.success().stdout, "40\n");
}

#[test]
fn web_dynos_sleep_and_wake_with_a_request() {
    let mut site = site_with("web_idle_seconds: 2\n");
    let app = deployed(&site, "hello");
    app.slugline(&["ps:scale", "web=2", "worker=1"]).success();
    reaches(&site, "hello", &["web.1 idle", "web.2 idle", "worker.1 up"]);
    for line in [
        "heroku[web.1]: Idling",
        "heroku[web.1]: State changed from up to idle",
    ] {
        logged(&site, "hello", line);
    }
    // The request waits for its dyno, and so do those beside it.
    let answers = std::thread::scope(|scope| {
        let ask = || scope.spawn(|| get(&site, "hello", "/").0);
        let asked = [ask(), ask(), ask(), ask()];
        asked.map(|asked| asked.join().unwrap())
    });
    assert_eq!(answers, [200; 4]);
    logged(&site, "hello", "heroku[web.1]: Unidling");
    reaches(&site, "hello", &["web.1 up", "web.2 up", "worker.1 up"]);
    // A request that goes on for longer than that keeps them awake.
    assert_eq!(get(&site, "hello", "/sleep/4"), (200, "slept".into()));
    // A deploy, a restart and a server's start find them awake; one that was stopped stays down.
    reaches(&site, "hello", &["web.1 idle", "web.2 idle", "worker.1 up"]);
    app.slugline(&["ps:restart", "web.1"]).success();
    reaches(&site, "hello", &["web.1 up", "web.2 idle", "worker.1 up"]);
    app.slugline(&["ps:stop", "web.2"]).success();
    reaches(&site, "hello", &["web.1 idle", "web.2 down", "worker.1 up"]);
    app.slugline(&["config:set", "VERSION=two"]).success();
    assert_eq!(get(&site, "hello", "/version"), (200, "two".into()));
    reaches(&site, "hello", &["web.1 idle", "web.2 idle", "worker.1 up"]);
    drop(app);
    site.stop(Signal::SIGKILL);
    site.start(&[]);
    assert_eq!(get(&site, "hello", "/").0, 200);
    // In maintenance nobody is woken.
    reaches(&site, "hello", &["web.1 idle", "web.2 idle", "worker.1 up"]);
    site.slugline(&["maintenance", "on", "-a", "hello"])
        .success();
    assert_eq!(get(&site, "hello", "/").0, 503);
    assert_eq!(states(&site, "hello")[0], "web.1 idle");
}

#[test]
fn dynos_begin_anew_at_times_and_no_request_fails() {
    let site = site_with("dyno_cycle_seconds: 2\n");
    let app = deployed(&site, "hello");
    app.slugline(&["ps:scale", "worker=1"]).success();
    let cycled = |dyno: &str| {
        let line = format!("heroku[{dyno}]: Cycling");
        log(&site, "hello").iter().filter(|l| **l == line).count()
    };
    eventually("two cycles of each", || {
        assert_eq!(get(&site, "hello", "/").0, 200);
        cycled("web.1") >= 2 && cycled("worker.1") >= 2
    });
    logged(
        &site,
        "hello",
        "heroku[web.1]: State changed from up to starting",
    );
    // It was not a crash.
    let crashed = |line: &String| line.contains("crashed");
    assert!(!log(&site, "hello").iter().any(crashed));
}

#[test]
fn an_app_without_dynos_keeps_nothing_open() {
    let site = Site::new();
    let descriptors = || {
        let all = std::fs::read_dir(format!("/proc/{}/fd", site.server_id()));
        all.unwrap().count()
    };
    let apps = ["one", "two", "three", "four", "five", "six"];
    let one = deployed(&site, "zero");
    one.slugline(&["ps:scale", "web=0"]).success();
    reaches(&site, "zero", &[]);
    // What the first app makes the server open for good is not the apps'.
    let mut before = 0;
    eventually("rest", || {
        let now = descriptors();
        std::mem::replace(&mut before, now) == now
    });
    for name in apps {
        let app = deployed(&site, name);
        app.slugline(&["ps:scale", "web=0"]).success();
        reaches(&site, name, &[]);
        assert_eq!(get(&site, name, "/").0, 503);
    }
    eventually("as before", || descriptors() <= before + 2);
    // They are there when they are wanted.
    for name in apps {
        site.slugline(&["ps:scale", "-a", name, "web=1"]).success();
        reaches(&site, name, &["web.1 up"]);
        assert_eq!(get(&site, name, "/").0, 200);
    }
}

#[test]
fn layers_and_copies_show_the_same() {
    use slugline::sandbox::{Ended, Exit, Layering, Profile, Sandbox, Spec, Watch};
    let dir = tempfile::tempdir().unwrap();
    let mode = std::os::unix::fs::PermissionsExt::from_mode(0o755);
    std::fs::set_permissions(dir.path(), mode).unwrap();
    let tree = dir.path().join("tree");
    std::fs::create_dir_all(tree.join("deep")).unwrap();
    std::fs::write(tree.join("deep/file"), "slug\n").unwrap();
    std::os::unix::fs::symlink("deep/file", tree.join("link")).unwrap();
    let sandbox = Sandbox::new(crate::site::SLUGLINE);
    let base = sandbox.base(&tree).unwrap();
    for how in [Layering::Overlay, Layering::Copy] {
        // Each finds the slug's own files, whatever the one before it has written.
        for number in 0..2 {
            let own = dir.path().join(format!("{how:?}-{number}"));
            std::fs::create_dir(&own).unwrap();
            let root = sandbox
                .root_over(&own.join("root"), &base, how, None)
                .unwrap();
            let script = "cat link; ls; echo own > deep/file; echo > new; rm link; cat deep/file";
            let spec = Spec {
                argv: ["sh", "-c", script].map(str::to_owned).to_vec(),
                env: vec![("PATH".into(), "/usr/bin:/bin".into())],
                cwd: "/app".into(),
                profile: Profile::Inspect,
            };
            let mut said = Vec::new();
            let ended = sandbox.run(&root, &spec, &Watch::default(), &mut said);
            let ended = ended.unwrap();
            assert!(matches!(ended, Ended::Exited(Exit::Code(0))), "{ended:?}");
            let said = String::from_utf8(said).unwrap();
            assert_eq!(said, "slug\ndeep\nlink\nown\n", "{how:?}");
        }
    }
    assert_eq!(
        std::fs::read_to_string(tree.join("link")).unwrap(),
        "slug\n"
    );
    drop(base);
    slugline::sandbox::remove_tree(dir.path()).unwrap();
}

#[test]
fn a_second_dyno_unpacks_nothing() {
    use std::os::unix::fs::MetadataExt as _;
    let site = Site::new();
    let app = deployed(&site, "hello");
    let trees = || {
        let all = std::fs::read_dir(site.data().join("unpacked")).unwrap();
        let known = |entry: std::io::Result<std::fs::DirEntry>| {
            let meta = entry.unwrap().metadata().unwrap();
            (meta.ino(), meta.ctime_nsec())
        };
        all.map(known).collect::<Vec<_>>()
    };
    let before = trees();
    assert_eq!(before.len(), 1);
    let written = || {
        let dynos = std::fs::read_dir(site.data().join("dynos"))
            .unwrap()
            .flatten();
        let files = dynos.flat_map(|entry| crate::site::files_below(&entry.path()));
        files.filter(|path| path.ends_with("/server.py")).count()
    };
    app.slugline(&["ps:scale", "web=3"]).success();
    reaches(&site, "hello", &["web.1 up", "web.2 up", "web.3 up"]);
    // A release of other config vars has the same slug.
    app.slugline(&["config:set", "VERSION=two"]).success();
    eventually("its dynos", || get(&site, "hello", "/version").1 == "two");
    assert_eq!(trees(), before, "the one tree, as it was");
    assert_eq!(written(), 0, "no copy of the slug's files");
}
