//! One tree, one digest: whichever way it comes in, and whatever the surroundings are.

use std::fs;
use std::io::Write;
use std::process::{Command, Stdio};

use serde_json::{Value, json};

use crate::site::{Ran, Repository, SLUGLINE, Site, agent, eventually};

/// The digest of the newest slug of an app.
fn released_digest(site: &Site, name: &str) -> String {
    let release = site
        .api("GET", &format!("/apps/{name}/releases/current"), None)
        .1;
    let slug = site
        .api(
            "GET",
            &format!(
                "/apps/{name}/slugs/{}",
                release["slug"]["id"].as_str().unwrap()
            ),
            None,
        )
        .1;
    slug["checksum"]
        .as_str()
        .unwrap()
        .replace("SHA256:", "sha256:")
}

/// `slugline build --json`, in surroundings that must not matter.
fn built_digest(site: &Site, source: &str, surroundings: impl FnOnce(&mut Command)) -> Value {
    let mut command = site.command("sh".as_ref());
    command.args([
        "-c",
        r#"umask "$1"; shift; exec "$@""#,
        "sh",
        "077",
        SLUGLINE,
        "build",
        source,
        "--json",
    ]);
    command.args(["--output", site.path("out.tgz").to_str().unwrap()]);
    surroundings(&mut command);
    let built = Ran::new(command.output().unwrap()).success();
    serde_json::from_str(&built.stdout).unwrap()
}

/// Puts a tarball to a source of the server and builds it there.
fn api_build(site: &Site, name: &str, archive: Vec<u8>) -> Value {
    let source = site.api("POST", "/sources", None).1;
    let put = source["source_blob"]["put_url"].as_str().unwrap();
    assert_eq!(agent().put(put).send(&archive).unwrap().status(), 200);
    let request =
        json!({ "source_blob": { "url": source["source_blob"]["get_url"], "version": "1.2.3" } });
    let (status, build) = site.api("POST", &format!("/apps/{name}/builds"), Some(request));
    assert_eq!(status, 201, "{build}");
    let output = agent()
        .get(build["output_stream_url"].as_str().unwrap())
        .call()
        .unwrap()
        .body_mut()
        .read_to_string()
        .unwrap();
    assert!(output.contains("Verifying deploy... done."), "{output}");
    site.api(
        "GET",
        &format!("/apps/{name}/builds/{}", build["id"].as_str().unwrap()),
        None,
    )
    .1
}

fn tarball(app: &Repository<'_>, arguments: &[&str]) -> Vec<u8> {
    let output = app
        .git_command(&[&["archive", "--format=tar.gz"], arguments, &["HEAD"]].concat())
        .output()
        .unwrap();
    assert!(output.status.success());
    output.stdout
}

fn one_digest(fixture: &str) {
    let first = Site::new();
    let app = first.app("hello", fixture);
    app.push().success();
    let digest = released_digest(&first, "hello");

    // Another data directory, umask, locale, temporary directory, zone and time.
    let second = Site::without_server();
    let copy = second.repository("elsewhere", fixture);
    let built = built_digest(&second, copy.dir.to_str().unwrap(), |command| {
        fs::create_dir(second.path("tmp")).unwrap();
        command
            .env("TMPDIR", second.path("tmp"))
            .env("LC_ALL", "tr_TR.UTF-8")
            .env("LANG", "tr_TR.UTF-8")
            .env("TZ", "Asia/Tokyo");
    });
    assert_eq!(built["digest"], digest.as_str(), "slugline build");

    let mut third = Site::without_server();
    third.start(&[]);
    third.slugline(&["apps", "create", "other"]).success();
    let build = api_build(&third, "other", tarball(&app, &[]));
    assert_eq!(build["status"], "succeeded");
    assert_eq!(released_digest(&third, "other"), digest, "HTTP build");
    // As GitHub packs it, with one directory around everything.
    api_build(&third, "other", tarball(&app, &["--prefix=app-main/"]));
    assert_eq!(
        released_digest(&third, "other"),
        digest,
        "HTTP build of a wrapped archive, with a warm cache"
    );

    // Once more on the first server, with a warm cache.
    app.git(&["commit", "--quiet", "--allow-empty", "--message", "Empty"])
        .success();
    app.push().success();
    assert_eq!(released_digest(&first, "hello"), digest, "a second push");
}

#[test]
fn of_a_flask_app() {
    one_digest("python_flask");
}

#[test]
fn of_a_node_app() {
    one_digest("nodejs_http");
}

#[test]
fn of_files_with_odd_names() {
    let site = Site::new();
    let app = site.scripted("odd", "odd_names.sh", &[]);
    app.slugline(&["apps", "create", "odd"]).success();
    app.push().success();
    let digest = released_digest(&site, "odd");
    let built = built_digest(&site, app.dir.to_str().unwrap(), |_| {});
    assert_eq!(built["digest"], digest.as_str(), "slugline build");
    api_build(&site, "odd", tarball(&app, &[]));
    assert_eq!(released_digest(&site, "odd"), digest, "HTTP build");

    let out = site.path("unpacked");
    let slug = site.path("out.tgz");
    site.slugline(&[
        "slug",
        "extract",
        slug.to_str().unwrap(),
        out.to_str().unwrap(),
    ])
    .success();
    let listed = |dir: &std::path::Path| {
        let mut command = site.command("sh".as_ref());
        let script = "find . -path ./.git -prune -o \\( -type f -o -type l \\) -printf '%p %m %l\\0' | sort -z | tr '\\0' '\\n'";
        Ran::new(
            command
                .current_dir(dir)
                .args(["-c", script])
                .output()
                .unwrap(),
        )
        .success()
        .stdout
    };
    let built = listed(&out);
    let expected = listed(&app.dir);
    let expected = expected.replace(" 664 ", " 644 ").replace(" 775 ", " 755 ");
    for line in expected.lines() {
        assert!(built.contains(line), "{line:?} in {built}");
    }
}

#[test]
fn the_three_kinds_of_source_of_build() {
    let site = Site::without_server();
    let app = site.repository("app", "nodejs_http");
    let source = app.dir.to_str().unwrap().to_owned();
    let directory = built_digest(&site, &source, |_| {});
    fs::write(site.path("app.tgz"), tarball(&app, &[])).unwrap();
    let archive = built_digest(&site, site.path("app.tgz").to_str().unwrap(), |_| {});
    let git = built_digest(&site, &format!("file://{source}#main"), |_| {});
    assert_eq!(directory["digest"], archive["digest"]);
    assert_eq!(directory["digest"], git["digest"]);
    assert_eq!(git["source"]["commit"], app.head().as_str());
    assert_eq!(directory["source"]["commit"], app.head().as_str());
    assert_eq!(archive["source"]["commit"], Value::Null);

    // What git does not track is not built, and a changed file is said to be changed.
    app.write("untracked.txt", "x");
    let untracked = built_digest(&site, &source, |_| {});
    assert_eq!(directory["digest"], untracked["digest"]);
    app.write("server.js", "// changed\n");
    let changed = site
        .slugline(&[
            "build",
            &source,
            "--output",
            site.path("changed.tgz").to_str().unwrap(),
        ])
        .success();
    assert!(
        changed.stderr.contains("1 tracked file differs from HEAD"),
        "{}",
        changed.stderr
    );
}

#[test]
fn build_answers_in_json_and_exit_codes() {
    let site = Site::without_server();
    let good = site.repository("good", "nodejs_http");
    let built = built_digest(&site, good.dir.to_str().unwrap(), |_| {});
    assert_eq!(built["process_types"], json!({ "web": "npm start" }));
    assert_eq!(built["buildpacks"][0]["name"], "heroku/nodejs");
    for phase in ["checkout", "detect", "compile", "pack", "store"] {
        assert!(built["timings_ms"][phase].is_u64(), "{built}");
    }
    let path = built["path"].as_str().unwrap();
    assert_eq!(
        built["size_bytes"].as_u64().unwrap(),
        fs::metadata(path).unwrap().len()
    );
    let manifest: Value =
        serde_json::from_slice(&fs::read(format!("{path}.manifest.json")).unwrap()).unwrap();
    assert_eq!(manifest["digest"], built["digest"]);
    site.slugline(&["slug", "verify", path]).success();

    let build = |arguments: &[&str]| site.slugline(&[&["build", "--json"], arguments].concat());
    let bad = site.repository("bad", "no_language");
    let failed = build(&[bad.dir.to_str().unwrap()]).failure(1);
    let failure: Value = serde_json::from_str(&failed.stdout).unwrap();
    assert_eq!(failure["id"], "no_language_detected");
    assert_eq!(failure["url"], Value::Null);
    assert!(
        failure["message"]
            .as_str()
            .unwrap()
            .contains("No default language could be detected")
    );
    assert_eq!(
        serde_json::from_str::<Value>(&build(&["/no/such/thing"]).failure(2).stdout).unwrap()["id"],
        "source_not_found"
    );
    build(&[bad.dir.to_str().unwrap(), "--buildpack", "cobol"]).failure(2);
}

#[test]
fn a_buildpack_is_chosen_by_name_directory_or_inline() {
    let site = Site::without_server();
    let inline = site.repository("inline", "inline_shell");
    let source = inline.dir.to_str().unwrap();
    let out = site.path("inline.tgz");
    let build = |source: &str, buildpack: &str| {
        site.slugline(&[
            "build",
            source,
            "--output",
            out.to_str().unwrap(),
            "--buildpack",
            buildpack,
        ])
    };
    let built = build(source, "inline").success();
    assert!(
        built.stderr.contains("-----> Using buildpack: inline"),
        "{}",
        built.stderr
    );
    // The same scripts as a buildpack of their own.
    let by_directory = build(source, source).success();
    assert_eq!(built.stdout, by_directory.stdout);
    let wrong = build(source, "python").failure(1);
    assert!(
        wrong
            .stderr
            .contains(" !     App not compatible with buildpack: heroku/python"),
        "{}",
        wrong.stderr
    );
}

#[test]
fn config_vars_reach_a_build_as_files_only() {
    let site = Site::without_server();
    let app = site.repository("app", "inline_shell");
    app.write(
        "bin/compile",
        "#!/bin/sh\ncat \"$3/GREETING\"; echo; env | grep -c GREETING; cat \"$3/SECOND\"\n",
    );
    app.commit("Show the config vars");
    fs::write(
        site.path("vars.env"),
        "# comment\nGREETING=from the file\nSECOND=2\n",
    )
    .unwrap();
    let source = app.dir.to_str().unwrap();
    let arguments = [
        "build",
        source,
        "--buildpack",
        "inline",
        "--env-file",
        "vars.env",
        "--env",
        "GREETING=hello = world",
        "--output",
        "x.tgz",
    ];
    let built = site.slugline(&arguments);
    assert!(
        built.stderr.contains("hello = world\n0\n2"),
        "{}",
        built.stderr
    );
    site.slugline(&["build", source, "--env", "1A=x"])
        .failure(2);
}

#[test]
fn a_cache_is_kept_where_it_is_told() {
    let site = Site::without_server();
    let app = site.repository("app", "python_flask");
    let cache = site.path("cache");
    let build = || {
        let out = site.path("x.tgz");
        site.slugline(&[
            "build",
            app.dir.to_str().unwrap(),
            "--cache",
            cache.to_str().unwrap(),
            "--output",
            out.to_str().unwrap(),
        ])
        .success()
    };
    let cold = build();
    let warm = build();
    assert!(
        warm.stderr.contains("Using cached install of Python"),
        "{}",
        warm.stderr
    );
    assert_eq!(cold.stdout, warm.stdout);
}

#[test]
fn an_interrupted_build_leaves_nothing() {
    let site = Site::without_server();
    let app = site.repository("app", "inline_shell");
    app.write(
        "bin/compile",
        "#!/bin/sh\necho started; sleep 600 & setsid sleep 600 & wait\n",
    );
    app.commit("Endless");
    fs::create_dir(site.path("tmp")).unwrap();
    let mut command = site.command(SLUGLINE.as_ref());
    command
        .args(["build", app.dir.to_str().unwrap(), "--buildpack", "inline"])
        .env("TMPDIR", site.path("tmp"));
    let mut build = command.stderr(Stdio::piped()).spawn().unwrap();
    let mut stderr = std::io::BufReader::new(build.stderr.take().unwrap());
    let mut line = String::new();
    while !line.contains("started") {
        line.clear();
        assert_ne!(
            std::io::BufRead::read_line(&mut stderr, &mut line).unwrap(),
            0,
            "the build ended"
        );
    }
    let id = nix::unistd::Pid::from_raw(i32::try_from(build.id()).unwrap());
    nix::sys::signal::kill(id, nix::sys::signal::Signal::SIGINT).unwrap();
    assert_eq!(build.wait().unwrap().code(), Some(2));
    assert_eq!(fs::read_dir(site.path("tmp")).unwrap().count(), 0);
    assert!(!site.path("slug.tgz").exists());
    std::io::stdout().flush().unwrap();
    eventually("nothing of the build runs", || {
        let marker = site.path("tmp").to_string_lossy().into_owned();
        let processes = fs::read_dir("/proc").unwrap().flatten();
        !processes.into_iter().any(|process| {
            let line = fs::read(process.path().join("cmdline")).unwrap_or_default();
            String::from_utf8_lossy(&line).contains(&marker)
        })
    });
}
