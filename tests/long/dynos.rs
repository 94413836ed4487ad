//! Dynos over a longer time: deploys under load, and servers that die.

use std::collections::BTreeSet;
use std::path::Path;
use std::process::Stdio;
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;
use serde_json::json;

use crate::site::{Ran, Repository, Site, agent, eventually};

fn deployed<'a>(site: &'a Site, name: &str) -> Repository<'a> {
    let app = site.app(name, "inline_dynos");
    app.slugline(&["buildpacks", "set", "inline", "-a", name])
        .success();
    app.push().success();
    app
}

fn get(site: &Site, app: &str, path: &str) -> Option<String> {
    let url = format!("http://127.0.0.1:{}{path}", site.router_port());
    let request = agent().get(url).header("Host", format!("{app}.localhost"));
    let mut answer = request.call().ok()?;
    let text = answer.body_mut().read_to_string().ok()?;
    (answer.status().as_u16() == 200).then_some(text)
}

#[test]
fn no_request_fails_in_twenty_deploys() {
    let site = Site::new();
    let app = deployed(&site, "hello");
    let mut wrk = site.command(Path::new("wrk"));
    let url = format!("http://127.0.0.1:{}/version", site.router_port());
    wrk.args([
        "--threads",
        "1",
        "--connections",
        "8",
        "--duration",
        "3600s",
    ])
    .args([
        "--timeout",
        "30s",
        "--header",
        "Host: hello.localhost",
        &url,
    ])
    .stdout(Stdio::piped());
    let mut wrk = wrk
        .spawn()
        .expect("this test needs wrk: apt-get install wrk");
    for n in 0..20 {
        app.write("new", &n.to_string());
        app.commit(&format!("Deploy {n}"));
        let push = app.push().success();
        assert!(push.stderr.contains("Verifying deploy... done."));
        app.slugline(&["config:set", &format!("VERSION={n}")])
            .success();
        eventually("the new release", || {
            get(&site, "hello", "/version").as_deref() == Some(&*n.to_string())
        });
    }
    let id = nix::unistd::Pid::from_raw(wrk.id().cast_signed());
    nix::sys::signal::kill(id, Signal::SIGINT).unwrap();
    let mut told = String::new();
    std::io::Read::read_to_string(&mut wrk.stdout.take().unwrap(), &mut told).unwrap();
    wrk.wait().unwrap();
    println!("{told}");
    assert!(told.contains("requests in"), "{told}");
    assert!(!told.contains("Non-2xx"), "{told}");
    assert!(!told.contains("Socket errors"), "{told}");
}

/// Processes whose environment or command names a dyno of this site.
fn helpers(site: &Site) -> BTreeSet<String> {
    let mark = site.data().display().to_string();
    let mut found = BTreeSet::new();
    for entry in std::fs::read_dir("/proc").unwrap().flatten() {
        let line = std::fs::read(entry.path().join("cmdline")).unwrap_or_default();
        let line = String::from_utf8_lossy(&line).into_owned();
        if line.contains("__sandbox") && line.contains(&mark) {
            found.insert(entry.file_name().to_string_lossy().into_owned());
        }
    }
    found
}

#[test]
fn a_killed_server_leaves_no_dyno_and_finds_its_formations_again() {
    let mut site = Site::new();
    drop(deployed(&site, "hello"));
    site.slugline(&["ps:scale", "-a", "hello", "web=2", "worker=1"])
        .success();
    let mut wanted = vec!["web.1", "web.2", "worker.1"];
    for round in 0..50_u64 {
        // Something is under way each time: a scaling, a restart, a release, a start.
        let url = format!("{}/apps/hello", site.url());
        let token = site.token();
        let body = match round % 3 {
            0 => (
                format!("{url}/config-vars"),
                json!({ "VERSION": round.to_string() }),
            ),
            1 => (
                format!("{url}/formation"),
                json!({ "updates": [{ "type": "worker", "quantity": 1 + round % 2 }] }),
            ),
            _ => (format!("{url}/formation/web"), json!({ "quantity": 2 })),
        };
        let asking = std::thread::spawn(move || {
            let request = ureq::http::Request::patch(&body.0)
                .header("Authorization", format!("Bearer {token}"))
                .header("Content-Type", "application/json")
                .body(body.1.to_string())
                .unwrap();
            let _ = agent().run(request);
        });
        // Spread over the time that it takes, and never the same twice.
        std::thread::sleep(Duration::from_millis(round * 37 % 400));
        let before = helpers(&site);
        site.stop(Signal::SIGKILL);
        let _ = asking.join();
        eventually("the end of all dynos", || {
            helpers(&site).is_empty()
                && before
                    .iter()
                    .all(|id| !Path::new("/proc").join(id).exists())
        });
        site.start(&[]);
        let formation = site.api("GET", "/apps/hello/formation", None).1;
        let workers = formation
            .as_array()
            .unwrap()
            .iter()
            .find(|row| row["type"] == "worker")
            .unwrap()["quantity"]
            .as_u64()
            .unwrap();
        wanted.retain(|name| !name.starts_with("worker"));
        wanted.extend(
            ["worker.1", "worker.2"]
                .into_iter()
                .take(usize::try_from(workers).unwrap()),
        );
        let releases = site.api("GET", "/apps/hello/releases", None).1;
        let current = releases
            .as_array()
            .unwrap()
            .iter()
            .find(|release| release["current"] == true)
            .unwrap()
            .clone();
        let start = Instant::now();
        loop {
            let dynos = site.api("GET", "/apps/hello/dynos", None).1;
            let up = dynos.as_array().unwrap().iter().filter(|dyno| {
                dyno["state"] == "up" && dyno["release"]["version"] == current["version"]
            });
            let mut names = up
                .map(|dyno| dyno["name"].as_str().unwrap().to_owned())
                .collect::<Vec<_>>();
            names.sort();
            if names == wanted {
                break;
            }
            assert!(
                start.elapsed() < Duration::from_secs(60),
                "round {round}: {dynos:#}"
            );
            std::thread::sleep(Duration::from_millis(20));
        }
        let config = site.api("GET", "/apps/hello/config-vars", None).1;
        let version = config["VERSION"].as_str().unwrap_or("none").to_owned();
        assert_eq!(
            get(&site, "hello", "/version"),
            Some(version),
            "round {round}"
        );
    }
    let left = Ran::new(
        site.command(Path::new("ls"))
            .arg(site.data().join("dynos"))
            .output()
            .unwrap(),
    );
    assert!(left.stdout.lines().count() <= 4, "{left:?}");
}
