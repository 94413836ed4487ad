//! Apps that run: dynos, the router and logs, from a push to an answer and to an end.

use std::io::{BufRead, BufReader};
use std::process::Stdio;
use std::time::Duration;

use nix::sys::signal::Signal;
use serde_json::{Value, json};

use crate::site::{Repository, SLUGLINE, Site, agent, eventually};

/// An app of which each fault can be asked for.
const APP: &str = "inline_dynos";

pub fn deployed<'a>(site: &'a Site, name: &str) -> Repository<'a> {
    let app = site.app(name, APP);
    app.slugline(&["buildpacks", "set", "inline", "-a", name])
        .success();
    app.push().success();
    app
}

/// What the app answers by way of the router.
pub fn get(site: &Site, app: &str, path: &str) -> (u16, String) {
    let url = format!("http://127.0.0.1:{}{path}", site.router_port());
    let request = agent()
        .get(url)
        .header("Host", format!("{app}.localhost"))
        .call();
    let mut answer = request.unwrap();
    let text = answer.body_mut().read_to_string().unwrap_or_default();
    (answer.status().as_u16(), text)
}

/// The lines of an app's log, from `source[process]` on.
pub fn log(site: &Site, app: &str) -> Vec<String> {
    let ran = site.slugline(&["logs", "-a", app, "-n", "1500"]).success();
    let line = |line: &str| line.split_once(' ').unwrap().1.to_owned();
    ran.stdout.lines().map(line).collect()
}

#[track_caller]
pub fn logged(site: &Site, app: &str, wanted: &str) {
    eventually(wanted, || {
        log(site, app).iter().any(|line| line.contains(wanted))
    });
}

/// Name and state of each dyno.
pub fn states(site: &Site, app: &str) -> Vec<String> {
    let (_, dynos) = site.api("GET", &format!("/apps/{app}/dynos"), None);
    let text = |dyno: &Value, field: &str| dyno[field].as_str().unwrap().to_owned();
    let dynos = dynos.as_array().unwrap();
    let shown = dynos
        .iter()
        .map(|dyno| format!("{} {}", text(dyno, "name"), text(dyno, "state")));
    shown.collect()
}

#[track_caller]
pub fn reaches(site: &Site, app: &str, wanted: &[&str]) {
    eventually(&format!("{wanted:?}"), || states(site, app) == wanted);
}

#[test]
fn a_push_ends_with_an_address_that_answers() {
    let site = Site::new();
    let app = site.app("hello", APP);
    app.slugline(&["buildpacks", "set", "inline"]).success();
    assert_eq!(get(&site, "hello", "/").0, 502, "nothing deployed yet");
    let push = app.push().success();
    let url = format!("http://hello.localhost:{}/", site.router_port());
    assert!(push.stderr.contains(&format!("{url} deployed to Slugline")));
    assert!(push.stderr.contains("Verifying deploy... done."));
    assert_eq!(get(&site, "hello", "/"), (200, "Hello from web.1\n".into()));
    let shown = site.api("GET", "/apps/hello", None).1;
    assert_eq!(shown["web_url"], url);
    assert_eq!(get(&site, "other", "/").0, 404, "no such app");

    // What a process sees.
    assert_eq!(get(&site, "hello", "/env/DYNO").1, "web.1");
    assert_eq!(get(&site, "hello", "/env/HOME").1, "/app");
    assert_eq!(get(&site, "hello", "/env/PROFILED").1, "by .profile.d");
    assert!(get(&site, "hello", "/env/PORT").1.parse::<u16>().is_ok());
    assert_eq!(get(&site, "hello", "/env/SLUGLINE_DATA").0, 404);
    app.slugline(&["config:set", "VERSION=two"]).success();
    eventually("the config var", || {
        get(&site, "hello", "/version").1 == "two"
    });

    app.slugline(&["apps:destroy", "hello", "--confirm", "hello"])
        .success();
    assert_eq!(get(&site, "hello", "/").0, 404);
    assert!(children(site.server_id()).is_empty());
}

/// The helper processes of a server.
pub fn children(server: u32) -> Vec<String> {
    let tasks = std::fs::read_dir(format!("/proc/{server}/task")).unwrap();
    let children = tasks.flat_map(|task| {
        let path = task.unwrap().path().join("children");
        let text = std::fs::read_to_string(path).unwrap_or_default();
        text.split_whitespace()
            .map(str::to_owned)
            .collect::<Vec<_>>()
    });
    children.collect()
}

#[test]
fn what_a_dyno_writes_is_its_own() {
    for site in [Site::new(), Site::of_plain_user()] {
        writes_its_own(&site);
    }
}

fn writes_its_own(site: &Site) {
    let app = deployed(site, "hello");
    assert_eq!(get(site, "hello", "/write/app/server.py").1, "ok");
    assert!(
        get(site, "hello", "/read/app/server.py")
            .1
            .ends_with("written")
    );
    assert_eq!(get(site, "hello", "/write/app/new").1, "ok");
    assert_eq!(get(site, "hello", "/write/tmp/new").1, "ok");
    assert_eq!(get(site, "hello", "/write/etc/new").0, 403);
    assert_eq!(get(site, "hello", "/write/usr/new").0, 403);
    // The second dyno, and the same after a restart, has the slug's own files.
    app.slugline(&["ps:scale", "web=2"]).success();
    reaches(site, "hello", &["web.1 up", "web.2 up"]);
    app.slugline(&["ps:restart", "web.1"]).success();
    eventually("a restart", || {
        (0..8).all(|_| {
            let (status, text) = get(site, "hello", "/read/app/server.py");
            status == 200 && !text.ends_with("written")
        })
    });
    assert!(!get(site, "hello", "/list/app").1.contains("new"));
    // One tree for all of them.
    let trees = std::fs::read_dir(site.data().join("unpacked")).unwrap();
    assert_eq!(trees.count(), 1);
}

#[test]
fn a_formation_is_scaled_and_kept() {
    let mut site = Site::new();
    let app = deployed(&site, "hello");
    assert_eq!(states(&site, "hello"), ["web.1 up"]);
    let scaled = app.slugline(&["ps:scale", "web=2", "worker+1"]).success();
    assert!(
        scaled
            .stderr
            .contains("Now: web=2:standard-1x worker=1:standard-1x"),
        "{scaled:?}"
    );
    let all = ["web.1 up", "web.2 up", "worker.1 up"];
    reaches(&site, "hello", &all);
    let names = || (0..64).map(|_| get(&site, "hello", "/").1);
    let names = names().collect::<std::collections::BTreeSet<_>>();
    assert_eq!(names.len(), 2, "{names:?}");
    logged(&site, "hello", "app[worker.1]: working as worker.1");
    let shown = app.slugline(&["ps:scale"]).success().stdout;
    assert_eq!(
        shown,
        "flood=0:standard-1x web=2:standard-1x worker=1:standard-1x\n"
    );
    let unknown = app.slugline(&["ps:scale", "clock=1"]).failure(2);
    assert!(unknown.stderr.contains("There are: flood, web, worker."));
    app.slugline(&["ps:scale", "web=101"]).failure(2);

    // Across deploys, and across restarts of the server however it ended.
    app.write("new", "1");
    app.commit("Second");
    app.push().success();
    reaches(&site, "hello", &all);
    for signal in [Signal::SIGTERM, Signal::SIGKILL] {
        // Those of the release before are gone by then.
        eventually("three", || children(site.server_id()).len() == 3);
        let before = children(site.server_id());
        site.stop(signal);
        eventually("the end of all dynos", || {
            let gone = |id: &String| !std::path::Path::new("/proc").join(id).exists();
            before.iter().all(gone)
        });
        site.start(&[]);
        reaches(&site, "hello", &all);
        assert_eq!(get(&site, "hello", "/").0, 200);
    }
    // The log has survived, too.
    logged(
        &site,
        "hello",
        "Scaled to web@2:standard-1x worker@1:standard-1x by user admin",
    );

    site.slugline(&["ps:scale", "-a", "hello", "web=0", "worker=0"])
        .success();
    reaches(&site, "hello", &[]);
    assert_eq!(get(&site, "hello", "/").0, 503);
    logged(
        &site,
        "hello",
        r#"at=error code=H14 desc="No web processes running""#,
    );
}

#[test]
fn dynos_are_stopped_and_restarted() {
    let site = Site::new();
    let app = deployed(&site, "hello");
    app.slugline(&["ps:scale", "worker=1"]).success();
    reaches(&site, "hello", &["web.1 up", "worker.1 up"]);
    logged(&site, "hello", "working as worker.1");
    app.slugline(&["ps:stop", "worker.1"]).success();
    reaches(&site, "hello", &["web.1 up", "worker.1 down"]);
    for line in [
        "heroku[worker.1]: Stopping all processes with SIGTERM",
        "app[worker.1]: worker got signal 15",
        "heroku[worker.1]: Process exited with status 0",
        "heroku[worker.1]: State changed from up to down",
        "app[api]: Stop of worker.1 by user admin",
    ] {
        logged(&site, "hello", line);
    }
    app.slugline(&["ps:restart", "worker"]).success();
    reaches(&site, "hello", &["web.1 up", "worker.1 up"]);
    app.slugline(&["ps:stop", "web"]).success();
    reaches(&site, "hello", &["web.1 down", "worker.1 up"]);
    assert_eq!(get(&site, "hello", "/").0, 503);
    app.slugline(&["ps:restart"]).success();
    reaches(&site, "hello", &["web.1 up", "worker.1 up"]);
    assert_eq!(get(&site, "hello", "/").0, 200);
    for arguments in [["ps:stop", "web.9"], ["ps:restart", "nothing"]] {
        let none = app.slugline(&arguments).failure(2);
        assert!(none.stderr.contains("There is no dyno"), "{none:?}");
    }
    let shown = app.slugline(&["ps"]).success().stdout;
    assert!(shown.contains("=== web (standard-1x): exec /usr/bin/python3 -u server.py $PORT (1)"));
}

#[test]
fn a_crash_loop_is_said_and_the_release_before_goes_on_serving() {
    let site = Site::new();
    let app = deployed(&site, "hello");
    // By itself: it starts again at once.
    let _ = std::panic::catch_unwind(|| get(&site, "hello", "/exit/7"));
    logged(
        &site,
        "hello",
        "heroku[web.1]: Process exited with status 7",
    );
    logged(
        &site,
        "hello",
        "heroku[web.1]: State changed from up to crashed",
    );
    logged(&site, "hello", "heroku[web.1]: Restarting at once");
    reaches(&site, "hello", &["web.1 up"]);

    app.write("Procfile", "web: echo gone wrong; exit 3\n");
    app.commit("Broken");
    let push = app.push().success();
    for text in [
        "Verifying deploy... failed.",
        "web.1 of v3 crashed before it listened on $PORT.",
        "app[web.1]: gone wrong",
        "To go back:      slugline rollback -a hello",
    ] {
        assert!(push.stderr.contains(text), "{text}: {}", push.stderr);
    }
    // What served before still does.
    assert_eq!(get(&site, "hello", "/"), (200, "Hello from web.1\n".into()));
    logged(&site, "hello", "heroku[web.1]: Restarting in 2 seconds");
    app.slugline(&["rollback"]).success();
    reaches(&site, "hello", &["web.1 up"]);
    assert_eq!(get(&site, "hello", "/").0, 200);
    eventually("one process of one dyno", || {
        children(site.server_id()).len() == 1
    });
}

#[test]
fn an_app_whose_first_release_crashes() {
    let site = Site::new();
    let app = site.app("hello", APP);
    app.slugline(&["buildpacks", "set", "inline"]).success();
    app.slugline(&["config:set", "CRASH=1"]).success();
    app.push().success();
    eventually("H10", || {
        get(&site, "hello", "/").0 == 503
            && log(&site, "hello")
                .iter()
                .any(|line| line.contains("at=error code=H10 desc=\"App crashed\""))
    });
}

#[test]
fn a_dyno_that_never_binds_and_one_that_ignores_sigterm() {
    let mut site = Site::without_server();
    std::fs::create_dir_all(site.data()).unwrap();
    let options = "boot_timeout_seconds: 3\nstop_timeout_seconds: 1\n";
    std::fs::write(site.data().join("slugline.yml"), options).unwrap();
    site.start(&[]);
    let app = deployed(&site, "hello");
    app.slugline(&["config:set", "NEVER_BIND=1"]).success();
    for line in [
        "Error R10 (Boot timeout) -> Web process failed to bind to $PORT within 3 seconds of launch",
        "heroku[web.1]: Stopping process with SIGKILL",
        "heroku[web.1]: Process exited with status 137",
        "heroku[web.1]: State changed from starting to crashed",
    ] {
        logged(&site, "hello", line);
    }
    app.slugline(&["config:unset", "NEVER_BIND"]).success();
    app.slugline(&["config:set", "STUBBORN=1"]).success();
    reaches(&site, "hello", &["web.1 up"]);
    eventually("the stubborn one", || {
        get(&site, "hello", "/env/STUBBORN").1 == "1"
    });
    app.slugline(&["ps:stop", "web.1"]).success();
    for line in [
        "app[web.1]: no",
        "Error R12 (Exit timeout) -> At least one process failed to exit within 1 seconds of SIGTERM",
        "heroku[web.1]: Stopping remaining processes with SIGKILL",
    ] {
        logged(&site, "hello", line);
    }
    reaches(&site, "hello", &["web.1 down"]);
}

#[test]
fn memory_over_the_limit_is_said_and_far_over_it_ends_the_dyno() {
    let small = "dyno_memory_bytes: 67108864\n";
    // By control groups, and as a plain user by a guard.
    for mut site in [Site::new(), Site::of_plain_user()] {
        site.stop(Signal::SIGTERM);
        std::fs::write(site.data().join("slugline.yml"), small).unwrap();
        site.start(&[]);
        uses_much(&site);
    }
}

fn uses_much(site: &Site) {
    let _app = deployed(site, "hello");
    assert_eq!(get(site, "hello", "/eat/70").1, "eaten");
    logged(
        site,
        "hello",
        "heroku[web.1]: Error R14 (Memory quota exceeded)",
    );
    logged(site, "hello", "heroku[web.1]: Process running mem=");
    let _ = std::panic::catch_unwind(|| get(site, "hello", "/eat/130"));
    logged(
        site,
        "hello",
        "heroku[web.1]: Error R15 (Memory quota vastly exceeded)",
    );
    logged(
        site,
        "hello",
        "heroku[web.1]: Process exited with status 137",
    );
    reaches(site, "hello", &["web.1 up"]);
}

#[test]
fn two_apps_cannot_see_each_other() {
    for site in [Site::new(), Site::of_plain_user()] {
        are_apart(&site);
    }
}

fn are_apart(site: &Site) {
    let _one = deployed(site, "one");
    let two = site.repository("two", APP);
    two.slugline(&["apps", "create", "two"]).success();
    two.slugline(&["buildpacks", "set", "inline", "-a", "two"])
        .success();
    two.slugline(&["config:set", "SECRET=of two", "-a", "two"])
        .success();
    two.push().success();
    assert_eq!(get(site, "one", "/env/SECRET").0, 404);
    // Loopback ports: the other app's, the platform's, the router's.
    let port = get(site, "two", "/env/PORT").1;
    assert_eq!(
        get(site, "two", &format!("/connect/127.0.0.1:{port}")).0,
        200
    );
    let own = site.url().rsplit_once(':').unwrap().1.to_owned();
    for port in [port, own, site.router_port().to_string()] {
        let (status, text) = get(site, "one", &format!("/connect/127.0.0.1:{port}"));
        assert_eq!(
            (status, text.as_str()),
            (502, "ConnectionRefusedError"),
            "{port}"
        );
    }
    // Processes and files.
    let seen = get(site, "one", "/list/proc").1;
    let ids = seen.lines().filter(|name| name.parse::<u32>().is_ok());
    assert!(ids.count() <= 3, "{seen}");
    assert_eq!(get(site, "one", "/write/tmp/of_one").1, "ok");
    assert_eq!(get(site, "two", "/list/tmp").1, "");
    assert_eq!(get(site, "one", "/list/mnt/slug").1, "");
    assert_eq!(get(site, "one", "/list/mnt/layer").1, "");
    let data = site.data();
    for path in ["", "/admin-token", "/ledger.db"] {
        let path = format!("/read{}{path}", data.display());
        assert_eq!(get(site, "one", &path).0, 404, "{path}");
    }
}

#[test]
fn logs_are_chosen_and_followed() {
    let site = Site::new();
    let app = deployed(&site, "hello");
    get(&site, "hello", "/say/first");
    logged(&site, "hello", "app[web.1]: first");
    let of = |arguments: &[&str]| {
        let ran = app.slugline(&[&["logs"], arguments].concat()).success();
        ran.stdout.lines().map(str::to_owned).collect::<Vec<_>>()
    };
    assert_eq!(of(&["-n", "2"]).len(), 2);
    assert!(
        of(&["--source", "app"])
            .iter()
            .all(|line| line.contains(" app["))
    );
    assert!(
        of(&["--dyno", "router"])
            .iter()
            .all(|line| line.contains(" heroku[router]: at=info"))
    );
    let all = of(&[]);
    let order = [
        "app[api]: Release v1 created by user admin",
        "app[api]: Build started by user admin",
        "app[api]: Build succeeded",
        "app[api]: Release v2 created by user admin",
        "heroku[web.1]: Starting process with command `exec /usr/bin/python3 -u server.py ",
        "app[web.1]: listening",
        "heroku[web.1]: State changed from starting to up",
        "app[web.1]: first",
    ];
    let mut lines = all.iter();
    for wanted in &order[1..] {
        assert!(
            lines.any(|line| line.contains(wanted)),
            "{wanted}: {all:#?}"
        );
    }
    let time = all[0].split(' ').next().unwrap();
    assert_eq!(time.len(), "2026-01-01T00:00:00.000000+00:00".len());
    let mut sorted = all.clone();
    sorted.sort_by_key(|line| line.split(' ').next().unwrap().to_owned());
    assert_eq!(sorted, all);

    let mut tail = site.command(std::path::Path::new(SLUGLINE));
    tail.args([
        "logs", "-a", "hello", "--tail", "-n", "0", "--source", "app",
    ]);
    let mut tail = tail.stdout(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(tail.stdout.take().unwrap()).lines();
    let site = &site;
    std::thread::scope(|scope| {
        let (stop, stopped) = std::sync::mpsc::channel::<()>();
        scope.spawn(move || {
            let tick = Duration::from_millis(100);
            while stopped.recv_timeout(tick).is_err() {
                get(site, "hello", "/say/later");
            }
        });
        assert!(
            lines
                .next()
                .unwrap()
                .unwrap()
                .ends_with(" app[web.1]: later")
        );
        stop.send(()).unwrap();
    });
    tail.kill().unwrap();
    tail.wait().unwrap();
}

#[test]
fn a_dyno_that_floods_is_cut() {
    let site = Site::new();
    let app = deployed(&site, "hello");
    app.slugline(&["ps:scale", "flood=1"]).success();
    eventually("a notice", || {
        let ran = site.slugline(&["logs", "-a", "hello", "-n", "1500", "--source", "heroku"]);
        ran.stdout
            .contains("heroku[flood.1]: Error L10 (Output buffer overflow)")
    });
    assert_eq!(get(&site, "hello", "/").0, 200);
    app.slugline(&["ps:scale", "flood=0"]).success();
    eventually("its end", || states(&site, "hello") == ["web.1 up"]);
}

#[test]
fn the_platform_api_of_dynos() {
    let site = Site::new();
    deployed(&site, "hello");
    let (status, formation) = site.api("GET", "/apps/hello/formation", None);
    assert_eq!(status, 200);
    assert_eq!(formation[1]["type"], "web");
    assert_eq!(formation[1]["quantity"], 1);
    let updates = json!({ "updates": [{ "type": "worker", "quantity": "+1" }] });
    let (status, changed) = site.api("PATCH", "/apps/hello/formation", Some(updates));
    assert_eq!((status, &changed[0]["quantity"]), (200, &json!(1)));
    let body = json!({ "quantity": 0 });
    let (status, changed) = site.api("PATCH", "/apps/hello/formation/worker", Some(body));
    assert_eq!((status, &changed["quantity"]), (200, &json!(0)));
    let (status, wrong) = site.api("PATCH", "/apps/hello/formation", Some(json!({})));
    assert_eq!(
        (status, wrong["id"].as_str()),
        (422, Some("invalid_params"))
    );
    let dynos = site.api("GET", "/apps/hello/dynos", None).1;
    let id = dynos[0]["id"].as_str().unwrap();
    assert_eq!(
        site.api("GET", &format!("/apps/hello/dynos/{id}"), None).1["name"],
        "web.1"
    );
    assert_eq!(site.api("GET", "/apps/hello/dynos/web.7", None).0, 404);
    let stop = format!("/apps/hello/dynos/{id}/actions/stop");
    assert_eq!(site.api("POST", &stop, None).0, 202);
    reaches(&site, "hello", &["web.1 down"]);
    assert_eq!(
        site.api("DELETE", "/apps/hello/formations/web", None).0,
        202
    );
    reaches(&site, "hello", &["web.1 up"]);

    let body = json!({ "lines": 1, "tail": false, "source": "app", "dyno": "web.1" });
    let (status, session) = site.api("POST", "/apps/hello/log-sessions", Some(body));
    assert_eq!(status, 201);
    let url = session["logplex_url"].as_str().unwrap();
    let read = |accept: &str| {
        let request = agent().get(url).header("Accept", accept);
        let mut answer = request.call().unwrap();
        answer.body_mut().read_to_string().unwrap()
    };
    assert!(read("*/*").ends_with(" app[web.1]: listening\n"));
    let events = read("text/event-stream");
    assert!(events.starts_with("id: 1\ndata: 2") && events.ends_with("listening\n\n"));
    let unsigned = agent().get(url.split('?').next().unwrap()).call().unwrap();
    assert_eq!(unsigned.status().as_u16(), 403);
}

/// Version and status of each release, oldest first.
fn releases(site: &Site, app: &str) -> Vec<String> {
    let (_, releases) = site.api("GET", &format!("/apps/{app}/releases"), None);
    let shown = |release: &Value| {
        let status = release["status"].as_str().unwrap();
        format!("v{} {status}", release["version"])
    };
    releases.as_array().unwrap().iter().map(shown).collect()
}

#[test]
fn the_release_command_runs_first_and_its_failure_keeps_what_ran() {
    let site = Site::new();
    let app = site.app("hello", APP);
    app.slugline(&["buildpacks", "set", "inline"]).success();
    let procfile = |release: &str| {
        app.write(
            "Procfile",
            &format!("web: exec /usr/bin/python3 -u server.py $PORT\nrelease: {release}\n"),
        );
        app.commit(release);
    };
    procfile("echo migrating to $VERSION as $DYNO; test -n \"$VERSION\"");
    app.slugline(&["config:set", "VERSION=one"]).success();
    let push = app.push().success();
    let lines = push
        .stderr
        .lines()
        .map(|line| line.trim_start_matches("remote: ").trim_end());
    let lines = lines.collect::<Vec<_>>();
    let order = [
        "-----> Launching...",
        "Released v3",
        "!     Release command declared: this new release will not be available until the command succeeds.",
        "Running release command....",
        "migrating to one as release.",
        "Waiting for release.... done.",
        "http://hello.localhost:",
        "Verifying deploy... done.",
    ];
    let at = |wanted: &str| {
        let found = lines
            .iter()
            .position(|line| line.trim_start().starts_with(wanted));
        found.unwrap_or_else(|| panic!("{wanted}: {}", push.stderr))
    };
    let places = order.map(at);
    assert!(places.is_sorted(), "{places:?}");
    assert_eq!(get(&site, "hello", "/version").1, "one");
    logged(&site, "hello", "]: migrating to one as release.");
    logged(&site, "hello", "app[api]: Release v3 command succeeded");

    // The same, later; releases without such a command have none.
    let shown = app.slugline(&["releases:output", "v3"]).success();
    assert_eq!(shown.stdout.trim_end(), {
        let said = log(&site, "hello");
        let line = said.iter().find(|line| line.contains("]: migrating to"));
        line.unwrap().split_once(": ").unwrap().1.to_owned()
    });
    let release = site.api("GET", "/apps/hello/releases/3", None).1;
    let url = release["output_stream_url"].as_str().unwrap();
    let mut answer = agent().get(url).call().unwrap();
    let text = answer.body_mut().read_to_string().unwrap();
    assert_eq!(text, shown.stdout);
    let unsigned = url.split('?').next().unwrap();
    assert_eq!(agent().get(unsigned).call().unwrap().status().as_u16(), 403);
    let first = site.api("GET", "/apps/hello/releases/1", None).1;
    assert_eq!(first["output_stream_url"], Value::Null);

    procfile("echo cannot migrate; exit 3");
    let push = app.push().success();
    for text in [
        "cannot migrate",
        "Waiting for release.... failed.",
        "The release command of v4 failed.",
    ] {
        assert!(push.stderr.contains(text), "{text}: {}", push.stderr);
    }
    assert_eq!(releases(&site, "hello")[2..], ["v3 succeeded", "v4 failed"]);
    assert_eq!(get(&site, "hello", "/version").1, "one");
    logged(&site, "hello", "]: Process exited with status 3");
    // The code was accepted all the same.
    assert!(
        app.git(&["ls-remote", "slugline"])
            .success()
            .stdout
            .contains(&app.head())
    );

    // A change of config vars is a release as well, with the slug of the last that was good.
    app.slugline(&["config:set", "VERSION=two"]).success();
    eventually("v5", || {
        releases(&site, "hello").last().unwrap() == "v5 succeeded"
    });
    eventually("its dynos", || get(&site, "hello", "/version").1 == "two");
    app.slugline(&["config:unset", "VERSION"]).success();
    eventually("v6", || {
        releases(&site, "hello").last().unwrap() == "v6 failed"
    });
    assert_eq!(get(&site, "hello", "/version").1, "two");
    eventually("nothing of the command", || {
        children(site.server_id()).len() == 1
    });
}

#[test]
fn a_release_command_that_a_server_s_end_has_cut_has_failed() {
    let mut site = Site::new();
    let app = deployed(&site, "hello");
    app.write(
        "Procfile",
        "web: exec /usr/bin/python3 -u server.py $PORT\nrelease: sleep 1000\n",
    );
    app.commit("Slow");
    let mut push = app.git_command(&["push", "slugline", "main"]);
    let mut push = push.stderr(Stdio::null()).spawn().unwrap();
    eventually("the command", || {
        releases(&site, "hello").last().unwrap() == "v3 pending"
    });
    logged(
        &site,
        "hello",
        "]: Starting process with command `sleep 1000`",
    );
    site.stop(Signal::SIGKILL);
    push.wait().unwrap();
    site.start(&[]);
    assert_eq!(releases(&site, "hello").last().unwrap(), "v3 failed");
    reaches(&site, "hello", &["web.1 up"]);
    assert_eq!(get(&site, "hello", "/").0, 200);
    logged(&site, "hello", "Release command cut by the server's end");
}

#[test]
fn an_app_can_go_back_by_itself() {
    let site = Site::new();
    let app = deployed(&site, "hello");
    app.slugline(&["apps", "set", "--rollback-on-crash"])
        .success();
    app.write("Procfile", "web: exit 1\n");
    app.commit("Broken");
    let push = app.push().success();
    assert!(
        push.stderr.contains("Rollback to v2, as v4"),
        "{}",
        push.stderr
    );
    assert_eq!(
        releases(&site, "hello")[1..],
        ["v2 succeeded", "v3 succeeded", "v4 succeeded"]
    );
    reaches(&site, "hello", &["web.1 up"]);
    assert_eq!(get(&site, "hello", "/").0, 200);
    app.slugline(&["apps", "set", "--rollback-on-crash", "false"])
        .success();
    app.write("Procfile", "web: exit 2\n");
    app.commit("Broken again");
    assert!(!app.push().success().stderr.contains("Rollback to"));
    assert_eq!(get(&site, "hello", "/").0, 200, "what ran before");
}

#[test]
fn maintenance_is_a_page_of_the_router_s() {
    let mut site = Site::new();
    let app = deployed(&site, "hello");
    app.slugline(&["maintenance:on"]).success();
    assert_eq!(app.slugline(&["maintenance"]).success().stdout, "on\n");
    for _ in 0..2 {
        let (status, page) = get(&site, "hello", "/");
        assert!(status == 503 && page.contains("Offline for maintenance"));
        logged(&site, "hello", "at=info code=H80 desc=\"Maintenance mode\"");
        site.stop(Signal::SIGTERM);
        site.start(&[]);
    }
    let app = site.slugline(&["maintenance", "off", "-a", "hello"]);
    app.success();
    assert_eq!(get(&site, "hello", "/").0, 200);
}
