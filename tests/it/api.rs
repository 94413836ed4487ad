//! The Platform API: builds, slugs, releases, tokens and links, as another control plane uses them.

use serde_json::{Value, json};

use crate::origin::Origin;
use crate::site::{Site, agent, eventually};

fn archive(site: &Site, fixture: &str) -> Vec<u8> {
    let app = site.repository("source", fixture);
    app.git_command(&["archive", "--format=tar.gz", "HEAD"])
        .output()
        .unwrap()
        .stdout
}

fn put_source(site: &Site, bytes: &[u8]) -> String {
    let source = site.api("POST", "/sources", None).1;
    let urls = &source["source_blob"];
    assert_eq!(
        agent()
            .put(urls["put_url"].as_str().unwrap())
            .send(bytes)
            .unwrap()
            .status(),
        200
    );
    urls["get_url"].as_str().unwrap().to_owned()
}

#[test]
fn a_build_from_a_source_to_a_slug() {
    let site = Site::new();
    site.slugline(&["apps", "create", "hello"]).success();
    let bytes = archive(&site, "nodejs_http");
    let checksum = format!("SHA256:{}", slugline::digest::Digest::of(&bytes).hex());
    let url = put_source(&site, &bytes);
    let request =
        json!({ "source_blob": { "url": url, "checksum": checksum, "version": "v1.3.0" } });
    let (status, build) = site.api("POST", "/apps/hello/builds", Some(request));
    assert_eq!(status, 201);
    assert_eq!(build["status"], "pending");
    let output = agent()
        .get(build["output_stream_url"].as_str().unwrap())
        .call()
        .unwrap()
        .body_mut()
        .read_to_string()
        .unwrap();
    assert!(output.contains("-----> Node.js app detected"), "{output}");
    let build = site
        .api(
            "GET",
            &format!("/apps/hello/builds/{}", build["id"].as_str().unwrap()),
            None,
        )
        .1;
    assert_eq!(build["status"], "succeeded");

    let slug = site
        .api(
            "GET",
            &format!(
                "/apps/hello/slugs/{}",
                build["slug"]["id"].as_str().unwrap()
            ),
            None,
        )
        .1;
    assert_eq!(slug["process_types"], json!({ "web": "npm start" }));
    let blob = agent()
        .get(slug["blob"]["url"].as_str().unwrap())
        .call()
        .unwrap()
        .body_mut()
        .with_config()
        .limit(1 << 30)
        .read_to_vec()
        .unwrap();
    assert_eq!(slug["size"].as_u64().unwrap(), blob.len() as u64);
    assert_eq!(
        slug["checksum"],
        format!("SHA256:{}", slugline::digest::Digest::of(&blob).hex())
    );

    let release = site.api("GET", "/apps/hello/releases/2", None).1;
    assert_eq!(release["description"], "Deploy v1.3.0");
    assert_eq!(release["current"], true);
}

#[test]
fn sources_that_cannot_be_built() {
    let site = Site::new();
    site.slugline(&["apps", "create", "hello"]).success();
    let url = put_source(&site, b"no archive");
    let empty = site.api("POST", "/sources", None).1["source_blob"]["get_url"].clone();
    let wrong = format!("SHA256:{}", "0".repeat(64));
    for (source, id) in [
        (json!({ "url": url }), "archive_invalid"),
        (
            json!({ "url": url, "checksum": wrong }),
            "checksum_mismatch",
        ),
        (
            json!({ "url": url, "checksum": "MD5:00" }),
            "source_blob_invalid",
        ),
        (
            json!({ "url": "file:///etc/passwd" }),
            "source_blob_invalid",
        ),
        (json!({ "url": empty }), "source_unreachable"),
        (
            json!({ "url": "http://127.0.0.1:1/x.tgz" }),
            "source_unreachable",
        ),
    ] {
        let (status, build) = site.api(
            "POST",
            "/apps/hello/builds",
            Some(json!({ "source_blob": source })),
        );
        assert_eq!(status, 201, "{build}");
        let path = format!("/apps/hello/builds/{}", build["id"].as_str().unwrap());
        eventually("the build has failed", || {
            site.api("GET", &path, None).1["status"] == "failed"
        });
        assert_eq!(
            site.api("GET", &path, None).1["failure"]["id"],
            id,
            "{source}"
        );
    }
    let (status, error) = site.api("POST", "/apps/hello/builds", Some(json!({})));
    assert_eq!(
        (status, error["id"].as_str()),
        (422, Some("invalid_params"))
    );
    let directory = json!({ "source_blob": { "url": url }, "buildpacks": [{ "url": "/etc/" }] });
    assert_eq!(
        site.api("POST", "/apps/hello/builds", Some(directory)).0,
        422
    );
    assert_eq!(site.blobs(), 0);
}

/// A push whose build lasts until it is cancelled holds the app's turn meanwhile.
#[test]
fn a_source_is_fetched_when_its_turn_has_come() {
    let site = Site::that_fetches_from_loopback();
    let origin = Origin::new(&site);
    let app = site.app("hello", "inline_shell");
    // One directory alone would be taken for a wrapper of the whole.
    app.write("Procfile", "web: true\n");
    app.commit("Procfile");
    let archive = ["archive", "--format=tar.gz", "HEAD"];
    let archive = app.git_command(&archive).output().unwrap().stdout;
    std::fs::write(origin.path("source.tgz"), archive).unwrap();
    app.write("bin/compile", "#!/bin/sh\necho waiting; sleep 600\n");
    app.commit("Endless");
    app.slugline(&["buildpacks:set", "inline"]).success();
    let path = "/apps/hello/builds";
    let url = origin.url("source.tgz");
    let ask = || site.api("POST", path, Some(json!({ "source_blob": { "url": url } })));
    let state = |id: &Value| {
        site.api("GET", &format!("{path}/{}", id.as_str().unwrap()), None)
            .1
    };
    std::thread::scope(|scope| {
        let push = scope.spawn(|| app.push());
        let mut under_way = Value::Null;
        eventually("the push's build runs", || {
            under_way = site.api("GET", path, None).1[0]["id"].clone();
            let id = under_way.as_str().unwrap_or_default();
            std::fs::read_to_string(site.data().join(format!("logs/{id}.log")))
                .is_ok_and(|log| log.contains("waiting"))
        });
        let asked = (0..20).map(|_| ask()).collect::<Vec<_>>();
        for (status, build) in &asked {
            assert_eq!(*status, 201, "{build}");
        }
        let (status, refused) = ask();
        assert_eq!((status, &refused["id"]), (429, &json!("too_many_builds")));
        let ids = asked.iter().map(|(_, build)| build["id"].clone());
        let ids = ids.collect::<Vec<_>>();
        let log = |id: &Value| {
            site.data()
                .join(format!("logs/{}.log", id.as_str().unwrap()))
        };
        eventually("all of them wait", || {
            ids.iter().all(|id| {
                std::fs::read_to_string(log(id)).is_ok_and(|text| text.contains("Waiting for"))
            })
        });
        assert_eq!(origin.requests(), 0);
        // One of them is left, and then goes.
        for id in &ids[1..] {
            let (status, _) = site.api("DELETE", &format!("{path}/{}", id.as_str().unwrap()), None);
            assert_eq!(status, 200);
        }
        eventually("the others are gone", || {
            ids[1..].iter().all(|id| state(id)["status"] == "failed")
        });
        assert_eq!(origin.requests(), 0);
        let id = under_way.as_str().unwrap();
        site.slugline(&["builds", "cancel", id, "-a", "hello"])
            .success();
        push.join().unwrap().failure(1);
        eventually("it is built", || state(&ids[0])["status"] == "succeeded");
        assert_eq!(origin.requests(), 1);
    });
}

#[test]
fn a_build_is_cancelled() {
    let site = Site::new();
    let app = site.app("hello", "nodejs_build_script");
    app.write("build.js", "console.log('waiting'); Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 600000)");
    app.commit("Endless");
    let push = std::thread::scope(|scope| {
        let push = scope.spawn(|| app.push());
        let mut id = String::new();
        eventually("the build runs", || {
            let builds = site.api("GET", "/apps/hello/builds", None).1;
            id = builds[0]["id"].as_str().unwrap_or_default().to_owned();
            std::fs::read_to_string(site.data().join(format!("logs/{id}.log")))
                .is_ok_and(|log| log.contains("waiting"))
        });
        site.slugline(&["builds", "cancel", &id, "-a", "hello"])
            .success();
        push.join().unwrap()
    });
    let push = push.failure(1);
    assert!(
        push.stderr.contains("The build was cancelled."),
        "{}",
        push.stderr
    );
    assert_eq!(
        site.api("GET", "/apps/hello/builds", None).1[0]["status"],
        "failed"
    );
}

#[test]
fn config_vars_make_releases_and_come_back_with_a_rollback() {
    let site = Site::new();
    let app = site.app("hello", "nodejs_http");
    app.push().success();
    app.slugline(&["config:set", "GREETING=hello", "OTHER=1"])
        .success();
    app.slugline(&["config:unset", "OTHER"]).success();
    assert_eq!(
        site.api("GET", "/apps/hello/config-vars", None).1,
        json!({ "GREETING": "hello" })
    );
    app.slugline(&["rollback", "v2"]).success();
    assert_eq!(
        site.api("GET", "/apps/hello/config-vars", None).1,
        json!({})
    );
    let releases = site.api("GET", "/apps/hello/releases", None).1;
    let mut described = releases
        .as_array()
        .unwrap()
        .iter()
        .map(|release| {
            format!(
                "v{} {}",
                release["version"],
                release["description"].as_str().unwrap()
            )
        })
        .collect::<Vec<_>>();
    described.sort();
    assert_eq!(described[0], "v1 Initial release");
    assert!(described[1].starts_with("v2 Deploy "));
    assert_eq!(
        described[2..],
        [
            "v3 Set GREETING, OTHER config vars",
            "v4 Remove OTHER config vars",
            "v5 Rollback to v2"
        ]
    );
    // The same value again is no change.
    app.slugline(&["config:set", "A=1"]).success();
    app.slugline(&["config:set", "A=1"]).success();
    assert_eq!(
        site.api("GET", "/apps/hello/releases/current", None).1["version"],
        6
    );
    assert_eq!(
        site.api(
            "PATCH",
            "/apps/hello/config-vars",
            Some(json!({ "A-B": "x" }))
        )
        .0,
        422
    );
}

#[test]
fn links_open_one_thing_only() {
    let site = Site::new();
    let app = site.app("hello", "nodejs_http");
    app.push().success();
    let build = &site.api("GET", "/apps/hello/builds", None).1[0];
    let link = build["output_stream_url"].as_str().unwrap();
    assert_eq!(agent().get(link).call().unwrap().status(), 200);
    let (path, query) = link.split_once('?').unwrap();
    assert_eq!(agent().get(path).call().unwrap().status(), 403);
    let other = path.replace("/builds/", "/builds/0");
    assert_eq!(
        agent()
            .get(format!("{other}?{query}"))
            .call()
            .unwrap()
            .status(),
        403
    );
    assert_eq!(
        agent()
            .get(link.replace("signature=", "signature=0"))
            .call()
            .unwrap()
            .status(),
        403
    );
    let source = site.api("POST", "/sources", None).1;
    let get = source["source_blob"]["get_url"].as_str().unwrap();
    assert_eq!(
        agent().put(get).send("x").unwrap().status(),
        403,
        "a link to read is no link to write"
    );
}

#[test]
fn what_the_api_refuses() {
    let site = Site::new();
    site.slugline(&["apps", "create", "hello"]).success();
    let id = |answer: (u16, Value)| {
        (
            answer.0,
            answer.1["id"].as_str().unwrap_or_default().to_owned(),
        )
    };
    let refused = |method: &str, path: &str, body: Option<Value>| id(site.api(method, path, body));
    let is = |status: u16, name: &str| (status, name.to_owned());
    assert_eq!(refused("GET", "/apps/nothing", None), is(404, "not_found"));
    assert_eq!(refused("GET", "/nowhere", None), is(404, "not_found"));
    assert_eq!(
        refused("GET", "/apps/hello/releases/99", None),
        is(404, "not_found")
    );
    assert_eq!(
        refused("GET", "/apps/hello/builds/x", None),
        is(404, "not_found")
    );
    assert_eq!(
        refused("POST", "/apps", Some(json!({ "name": "hello" }))),
        is(422, "invalid_params")
    );
    assert_eq!(
        refused("POST", "/apps", Some(json!({ "name": "../x" }))),
        is(422, "invalid_params")
    );
    assert_eq!(
        refused("POST", "/apps", Some(json!(["hello"]))),
        is(400, "bad_request")
    );
    assert_eq!(
        refused("POST", "/apps/hello/releases", Some(json!({}))),
        is(422, "invalid_params")
    );
    assert_eq!(
        refused(
            "POST",
            "/apps/hello/releases",
            Some(json!({ "release": "1" }))
        ),
        is(422, "no_slug")
    );
    assert_eq!(
        id(site.api_as("wrong", "GET", "/apps", None)),
        is(401, "unauthorized")
    );
    assert_eq!(
        id(site.api_as("", "GET", "/apps", None)),
        is(401, "unauthorized")
    );
}

#[test]
fn an_app_is_destroyed_with_all_that_is_its_own() {
    let site = Site::new();
    let app = site.app("hello", "nodejs_http");
    app.push().success();
    let bare = site.bare("hello");
    site.slugline(&["apps", "destroy", "hello"]).failure(2);
    site.slugline(&["apps", "destroy", "hello", "--confirm", "hello"])
        .success();
    assert_eq!(site.api("GET", "/apps/hello", None).0, 404);
    assert!(!bare.exists());
    assert_eq!(site.blobs(), 0);
    assert_eq!(
        std::fs::read_dir(site.data().join("logs")).unwrap().count(),
        0
    );
}
