//! Buildpacks as apps choose them: by name, by URL, several in a row.

use std::fs;

use serde_json::{Value, json};

use crate::origin::{Origin, fixture_buildpack};
use crate::site::{Ran, Repository, Site};

/// Builds with `slugline build`, buildpacks in order; gives what it said.
fn build(site: &Site, app: &Repository<'_>, arguments: &[&str]) -> Ran {
    let out = site.path("slug.tgz");
    let mut all = vec![
        "build",
        app.dir.to_str().unwrap(),
        "--output",
        out.to_str().unwrap(),
    ];
    all.extend(arguments);
    site.slugline(&all)
}

fn record(site: &Site) -> Value {
    serde_json::from_str(&fs::read_to_string(site.path("slug.tgz.record.json")).unwrap()).unwrap()
}

/// An app that no built-in buildpack knows, and fixture buildpacks in its order.
#[track_caller]
fn built_by(fixtures: &[&str], more: &[&str]) -> (String, Value) {
    let site = Site::without_server();
    let app = site.repository("app", "no_language");
    let paths = fixtures.iter().map(|name| fixture_buildpack(name));
    let paths = paths.map(|path| path.to_str().unwrap().to_owned());
    let mut arguments = more.iter().map(|one| (*one).to_owned()).collect::<Vec<_>>();
    for path in paths {
        arguments.extend(["--buildpack".to_owned(), path]);
    }
    let arguments = arguments.iter().map(String::as_str).collect::<Vec<_>>();
    let said = build(&site, &app, &arguments).success().stderr;
    (said, record(&site))
}

fn names(list: &Value) -> Vec<&str> {
    let list = list.as_array().unwrap().iter();
    list.map(|one| one["buildpack"]["name"].as_str().unwrap())
        .collect()
}

#[test]
fn an_app_s_list_is_set_and_shown() {
    let site = Site::new();
    let app = site.app("hello", "no_language");
    let path = "/apps/hello/buildpack-installations";
    let git = "https://example.com/me/pack.git#v2";
    app.slugline(&["buildpacks:set", "heroku/python"]).success();
    app.slugline(&["buildpacks:add", git]).success();
    app.slugline(&["buildpacks:add", "nodejs", "--index", "1"])
        .success();
    let (status, list) = site.api("GET", path, None);
    assert_eq!(status, 200);
    assert_eq!(
        list,
        json!([
            { "ordinal": 0, "buildpack": { "name": "heroku/nodejs", "url": "urn:buildpack:heroku/nodejs" } },
            { "ordinal": 1, "buildpack": { "name": "heroku/python", "url": "urn:buildpack:heroku/python" } },
            { "ordinal": 2, "buildpack": { "name": git, "url": git } },
        ])
    );
    let shown = app.slugline(&["buildpacks"]).success().stdout;
    assert!(
        shown.contains("3. https://example.com/me/pack.git#v2"),
        "{shown}"
    );
    app.slugline(&["buildpacks:remove", "python"]).success();
    app.slugline(&["buildpacks:remove", "python"]).failure(2);
    app.slugline(&["buildpacks", "remove", "-i", "2"]).success();
    assert_eq!(names(&site.api("GET", path, None).1), ["heroku/nodejs"]);
    app.slugline(&["buildpacks:clear"]).success();
    assert_eq!(site.api("GET", path, None).1, json!([]));
}

#[test]
fn hostile_buildpacks_are_refused() {
    let site = Site::new();
    site.slugline(&["apps", "create", "hello"]).success();
    let path = "/apps/hello/buildpack-installations";
    for (buildpack, id) in [
        ("/etc", "buildpack_local"),
        ("./pack", "buildpack_local"),
        ("file:///etc", "buildpack_url"),
        ("ext::sh -c id", "buildpack_url"),
        ("ssh://git@127.0.0.1/x", "buildpack_url"),
        ("--upload-pack=id", "buildpack_url"),
        ("https://u:p@example.com/x", "buildpack_url"),
        ("https://example.com/x#--upload-pack=id", "buildpack_url"),
        ("cobol", "buildpack_unknown"),
    ] {
        let updates = json!({ "updates": [{ "buildpack": buildpack }] });
        let (status, answer) = site.api("PUT", path, Some(updates));
        assert_eq!(
            (status, answer["id"].as_str()),
            (422, Some(id)),
            "{buildpack}: {answer}"
        );
    }
    let twice = json!({ "updates": [{ "buildpack": "nodejs" }, { "buildpack": "heroku/nodejs" }] });
    assert_eq!(
        site.api("PUT", path, Some(twice)).1["id"],
        "buildpack_twice"
    );
    assert_eq!(site.api("PUT", path, Some(json!({}))).0, 422);
    assert_eq!(site.api("GET", path, None).1, json!([]));
}

#[test]
fn what_detection_found_stays() {
    let site = Site::new();
    let app = site.app("hello", "nodejs_http");
    let first = app.push().success().stderr;
    assert!(
        first.contains("Determining which buildpack to use for this app"),
        "{first}"
    );
    // Python's file would not change what the app is, and neither would the other's absence.
    app.write("requirements.txt", "");
    app.commit("More");
    let second = app.push().success().stderr;
    assert!(
        second.contains("-----> Using buildpack: heroku/nodejs"),
        "{second}"
    );
    app.git(&["rm", "--quiet", "package.json"]).success();
    app.commit("Less");
    let third = app.push().failure(1).transcript(&site);
    insta::assert_snapshot!("pinned_and_not_compatible", third);
}

#[test]
fn several_could_handle_the_app() {
    let site = Site::new();
    let app = site.app("hello", "nodejs_http");
    app.write("requirements.txt", "");
    app.commit("Both");
    let said = app.push().success().stderr;
    for line in [
        " !     Warning: Multiple default buildpacks reported the ability to handle this app. The first buildpack in the list below will be used.",
        "Detected buildpacks: Node.js,Python",
        "See https://devcenter.heroku.com/articles/buildpacks#buildpack-detect-order",
    ] {
        assert!(said.contains(line), "{line} in {said}");
    }
}

#[test]
fn a_misspelt_file_is_named() {
    let site = Site::new();
    let app = site.app("hello", "no_language");
    app.write("requirement.txt", "flask\n");
    app.write("Package.json", "{}");
    app.commit("Misspell");
    insta::assert_snapshot!("misspelt", app.push().failure(1).transcript(&site));
}

#[test]
fn what_a_buildpack_exports_reaches_the_next() {
    let (said, record) = built_by(&["exporting", "exported_to"], &[]);
    assert!(
        said.contains("-----> Using buildpacks:\n       1. "),
        "{said}"
    );
    assert!(
        said.contains("-----> Exported to: the tool says hello from the export"),
        "{said}"
    );
    let labels = said.lines().filter(|line| line.ends_with(" app detected"));
    assert_eq!(
        labels.collect::<Vec<_>>(),
        [
            "-----> Exporting app detected",
            "-----> Exported app detected"
        ]
    );
    // Only the last one's word counts.
    assert_eq!(record["process_types"], json!({ "web": "echo unset" }));
}

#[test]
fn a_buildpack_may_have_two_scripts_or_an_empty_release() {
    let (said, record) = built_by(&["empty_release", "only_detect_and_compile"], &[]);
    assert!(said.contains("-----> Bare"), "{said}");
    assert_eq!(record["process_types"], json!({}));
    let (_, record) = built_by(&["only_detect_and_compile", "empty_release"], &[]);
    assert_eq!(record["process_types"], json!({}));
}

#[test]
fn links_into_app_work_in_both_layouts() {
    let (said, _) = built_by(&["links_into_app"], &[]);
    assert!(
        said.contains("-----> BUILD_DIR is /app, and the tool is linked"),
        "{said}"
    );
    let (said, _) = built_by(&["links_into_app"], &["--build-dir", "separate"]);
    assert!(said.contains("-----> BUILD_DIR is /tmp/build_"), "{said}");
    assert!(said.contains("and the tool is linked"), "{said}");
}

#[test]
fn hard_links_between_cache_and_build_work() {
    for layout in ["app", "separate"] {
        let site = Site::without_server();
        let app = site.repository("app", "no_language");
        let (pack, cache) = (fixture_buildpack("hard_links"), site.path("cache"));
        let arguments = [
            "--build-dir",
            layout,
            "--buildpack",
            pack.to_str().unwrap(),
            "--cache",
            cache.to_str().unwrap(),
        ];
        let first = build(&site, &app, &arguments).success();
        assert!(
            first.stderr.contains("One file under two names"),
            "{}",
            first.stderr
        );
        let second = build(&site, &app, &arguments).success();
        assert!(
            second.stderr.contains("-----> Restored first"),
            "{}",
            second.stderr
        );
        assert_eq!(first.stdout, second.stdout, "{layout}");
    }
}

#[test]
fn a_buildpack_of_a_git_repository() {
    let site = Site::that_fetches_from_loopback();
    let origin = Origin::new(&site);
    let old = origin.repository(&site, "pack.git", "only_detect_and_compile");
    origin.git(&site, "pack.git", &["tag", "-a", "v1", "-m", "v1"]);
    let compile = origin.path("pack.git/bin/compile");
    let text = fs::read_to_string(&compile).unwrap();
    fs::write(&compile, text.replace("Bare", "Barer")).unwrap();
    let new = origin.commit(&site, "pack.git");

    let app = site.app("hello", "no_language");
    let url = origin.url("pack.git");
    for (number, (reference, commit, says)) in [
        (String::new(), &new, "-----> Barer"),
        ("#v1".to_owned(), &old, "-----> Bare"),
        (format!("#{old}"), &old, "-----> Bare"),
        ("#main".to_owned(), &new, "-----> Barer"),
        (format!("#{}", &old[..9]), &old, "-----> Bare"),
    ]
    .into_iter()
    .enumerate()
    {
        let name = format!("{url}{reference}");
        app.slugline(&["buildpacks:set", &name]).success();
        app.write("number", &number.to_string());
        app.commit("Change");
        let said = app.push().success().stderr;
        assert!(
            said.contains(&format!("-----> Using buildpack: {name}")),
            "{said}"
        );
        assert!(said.contains(says), "{name}: {said}");
        let slug = site.api("GET", "/apps/hello/releases/current", None).1["slug"]["id"].clone();
        let path = format!("/apps/hello/slugs/{}", slug.as_str().unwrap());
        let used = &site.api("GET", &path, None).1["record"]["buildpacks"][0];
        assert_eq!(used["name"], name);
        assert_eq!(used["pinned"], format!("{url}#{commit}"));
    }
    let kept = fs::read_dir(site.data().join("buildpacks"))
        .unwrap()
        .count();
    assert_eq!(kept, 2, "one for each commit");

    // What no release was built with goes.
    site.slugline(&["gc", "--grace-hours", "0"]).success();
    let kept = fs::read_dir(site.data().join("buildpacks")).unwrap();
    let kept = kept
        .flatten()
        .map(|entry| entry.file_name().into_string().unwrap());
    assert_eq!(kept.collect::<Vec<_>>(), [format!("git-{old}")]);

    // A commit that is here is not asked for.
    let before = origin.requests();
    app.slugline(&["buildpacks:set", &format!("{url}#{old}")])
        .success();
    app.write("number", "last");
    app.commit("Change");
    app.push().success();
    assert_eq!(origin.requests(), before);

    app.slugline(&["buildpacks:set", &format!("{url}#nowhere")])
        .success();
    app.write("number", "none");
    app.commit("Change");
    let said = app.push().failure(1).stderr;
    assert!(
        said.contains("has no branch, tag or commit nowhere"),
        "{said}"
    );
    app.slugline(&["buildpacks:set", &origin.url("nothing.git")])
        .success();
    let said = app.push().failure(1).stderr;
    assert!(
        said.contains("The buildpack could not be fetched."),
        "{said}"
    );
}

#[test]
fn a_buildpack_of_a_tarball() {
    let site = Site::that_fetches_from_loopback();
    let origin = Origin::new(&site);
    let digest = origin.tarball(&site, "pack.tgz", "only_detect_and_compile");
    let app = site.app("hello", "no_language");
    let url = origin.url("pack.tgz");
    app.slugline(&["buildpacks:set", &url]).success();
    let said = app.push().success().stderr;
    assert!(said.contains("-----> Bare app detected"), "{said}");
    // With its checksum, and known by now.
    let before = origin.requests();
    app.slugline(&["buildpacks:set", &format!("{url}#{digest}")])
        .success();
    app.write("more", "");
    app.commit("More");
    app.push().success();
    assert_eq!(origin.requests(), before);
    let wrong = slugline::digest::Digest::of(b"else");
    app.slugline(&["buildpacks:set", &format!("{url}#{wrong}")])
        .success();
    app.write("more", "more");
    app.commit("More");
    let said = app.push().failure(1).stderr;
    assert!(said.contains("checksum"), "{said}");

    // A local file of the same, for a local build.
    let local = origin.path("pack.tgz");
    build(&site, &app, &["--buildpack", local.to_str().unwrap()]).success();
}

#[test]
fn an_app_in_a_directory_of_its_repository() {
    let site = Site::new();
    let app = site.app("hello", "no_language");
    app.write(
        "services/api/package.json",
        "{\"scripts\": {\"start\": \"node server.js\"}}",
    );
    app.write(
        "services/api/bin/detect",
        "#!/bin/sh\ntest ! -w \"$1\" && echo Service\n",
    );
    app.write("services/api/bin/compile", "#!/bin/sh\nls \"$1\"; cat /tmp/source/README.md /tmp/source/services/api/package.json >\"$1/seen\"; echo; echo \"-----> In $1\"\n");
    app.write("services/api/Procfile", "web: ls\n");
    app.commit("A service");
    app.slugline(&["buildpacks:set", "inline"]).success();
    app.slugline(&["apps:set", "hello", "--root", "services/api/"])
        .success();
    let said = app.push().success().stderr;
    assert!(said.contains("-----> In /app"), "{said}");
    assert!(said.contains("Procfile declares types -> web"), "{said}");
    let shown = app.slugline(&["apps", "info", "hello"]).success().stdout;
    assert!(
        shown.contains("Root:") && shown.contains("services/api"),
        "{shown}"
    );

    app.slugline(&["apps:set", "hello", "--build-dir", "separate"])
        .success();
    app.write("services/api/more", "");
    app.commit("More");
    let said = app.push().success().stderr;
    assert!(said.contains("-----> In /tmp/build_"), "{said}");

    app.slugline(&["apps:set", "hello", "--root", "services/none"])
        .success();
    app.write("services/api/more", "more");
    app.commit("More");
    let said = app.push().failure(1).stderr;
    assert!(
        said.contains("The source has no directory services/none."),
        "{said}"
    );
    // A link is no directory: it could lead out.
    std::os::unix::fs::symlink("/etc", app.dir.join("services/none")).unwrap();
    app.commit("Link");
    app.push().failure(1);
    for root in ["../x", "/etc", "a/../../b"] {
        let body = json!({ "root": root });
        assert_eq!(
            site.api("PATCH", "/apps/hello", Some(body)).0,
            422,
            "{root}"
        );
    }
    let body = json!({ "root": null, "build_dir": "app" });
    let (status, shown) = site.api("PATCH", "/apps/hello", Some(body));
    assert_eq!(
        (status, &shown["root"], &shown["build_dir"]),
        (200, &Value::Null, &json!("app"))
    );
}

#[test]
fn a_purged_cache_is_empty() {
    let site = Site::new();
    let app = site.app("hello", "inline_shell");
    app.write(
        "bin/compile",
        "#!/bin/sh\nls \"$2\" | sed 's/^/cached: /'; touch \"$2/kept\"\n",
    );
    app.commit("Cache");
    app.slugline(&["buildpacks:set", "inline"]).success();
    let push = |text: &str| {
        app.write("text", text);
        app.commit("Change");
        app.push().success().stderr
    };
    push("1");
    let said = push("2");
    assert!(said.contains("cached: kept"), "{said}");
    app.slugline(&["builds:cache:purge"]).success();
    let said = push("3");
    assert!(!said.contains("cached: kept"), "{said}");
}

#[test]
fn a_cache_of_another_stack_is_discarded_with_a_line() {
    let site = Site::new();
    let app = site.app("hello", "inline_shell");
    app.write(
        "bin/compile",
        "#!/bin/sh\nls \"$2\" | sed 's/^/cached: /'; touch \"$2/kept\"\n",
    );
    app.commit("Cache");
    app.slugline(&["buildpacks:set", "inline"]).success();
    app.push().success();
    let kept = site.data().join("caches").join(site.app_id("hello"));
    let note = kept.join("current/note.json");
    let mut maker: Value = serde_json::from_str(&fs::read_to_string(&note).unwrap()).unwrap();
    maker["stack"] = "cedar-14".into();
    fs::write(&note, maker.to_string()).unwrap();
    app.write("more", "");
    app.commit("More");
    let said = app.push().success().stderr;
    assert!(
        said.contains("-----> Stack changed from cedar-14 to "),
        "{said}"
    );
    assert!(!said.contains("cached: kept"), "{said}");

    // What another buildpack kept is of no use either.
    let other = json!({ "updates": [{ "buildpack": "heroku/nodejs" }] });
    site.api("PUT", "/apps/hello/buildpack-installations", Some(other));
    app.write("package.json", "{}");
    app.commit("Node.js");
    let said = app.push().success().stderr;
    let line =
        "-----> Buildpacks changed from inline to heroku/nodejs: the build cache is discarded";
    assert!(said.contains(line), "{said}");
}

/// Pushes an app whose build prints what the script says; gives the log's bytes and what the
/// pusher has read.
fn printed(script: &str) -> (Vec<u8>, String) {
    let site = Site::new();
    let app = site.app("hello", "inline_shell");
    app.write("bin/compile", &format!("#!/bin/sh\n{script}\n"));
    app.commit("Print");
    app.slugline(&["buildpacks:set", "inline"]).success();
    let said = app.push().stderr;
    let id = site.api("GET", "/apps/hello/builds", None).1[0]["id"].clone();
    let log = site
        .data()
        .join(format!("logs/{}.log", id.as_str().unwrap()));
    (fs::read(log).unwrap(), said)
}

#[test]
fn a_log_flood_is_cut_and_the_end_is_still_read() {
    let (log, said) =
        printed("yes 'the same line again and again' | head -c 2G; echo because; exit 1");
    assert!(log.len() < 34 << 20, "{}", log.len());
    for text in [&said, &String::from_utf8_lossy(&log).into_owned()] {
        let end = &text[text.len().saturating_sub(2000)..];
        assert!(
            text.contains(
                "The output of this buildpack is longer than 32 MiB; the rest is not shown."
            ),
            "{end}"
        );
        assert!(end.contains("because"), "{end}");
        assert!(
            end.contains("Push rejected, failed to compile Shell app."),
            "{end}"
        );
    }
}

#[test]
fn a_line_without_end_is_cut() {
    let (log, said) = printed("head -c 1G /dev/zero | tr '\\0' x; echo; echo after");
    assert!(log.len() < 200 << 10, "{}", log.len());
    assert!(said.contains("This line is longer than 64 KiB; the rest of it is not shown."));
    assert!(said.contains("Released v2"));
}

#[test]
fn bytes_of_any_kind_survive() {
    let (log, said) = printed("printf '10%%\\r20%%\\r\\033[1mdone\\033[0m \\377\\376 caf\\351\\n'");
    let bytes = b"10%\r20%\r\x1b[1mdone\x1b[0m \xff\xfe caf\xe9\n";
    assert!(log.windows(bytes.len()).any(|part| part == bytes));
    assert!(said.contains("20%"), "{said}");
}

#[test]
fn a_report_is_made_of_a_failed_build_too() {
    let site = Site::without_server();
    let app = site.repository("app", "inline_shell");
    app.write(
        "bin/compile",
        "#!/bin/sh\nset -e\ntouch \"$(dirname \"$0\")/../written\"\nexit 3\n",
    );
    // Its standard output is data; that it ran is seen by the time that it takes.
    app.write(
        "bin/report",
        "#!/bin/sh\ntest -f \"$(dirname \"$0\")/../written\" && test -d \"$1\" -a -d \"$2\" -a -d \"$3\" && sleep 3\n",
    );
    app.commit("Fail");
    let start = std::time::Instant::now();
    let failed = build(&site, &app, &["--buildpack", "inline"]).failure(1);
    assert!(
        failed.stderr.contains("failed to compile Shell app"),
        "{}",
        failed.stderr
    );
    assert!(start.elapsed().as_secs() >= 3);
}

#[test]
fn detection_writes_nothing_and_sees_no_config() {
    let site = Site::without_server();
    let app = site.repository("app", "inline_shell");
    app.write(
        "bin/detect",
        "#!/bin/sh\ntouch \"$1/x\" 2>/dev/null && exit 1\nls -A /env | grep -q . && exit 1\nenv | grep -q SECRET && exit 1\necho Careful\n",
    );
    app.commit("Look");
    let built = build(&site, &app, &["--buildpack", "inline", "--env", "SECRET=1"]).success();
    assert!(
        built.stderr.contains("Careful app detected"),
        "{}",
        built.stderr
    );
}

#[test]
fn a_buildpack_that_does_not_know_the_stack() {
    let site = Site::without_server();
    let app = site.repository("app", "no_language");
    app.write("bin/detect", "#!/bin/sh\necho Picky\n");
    app.write(
        "bin/compile",
        "#!/bin/sh\ncase $STACK in heroku-*) ;; *) echo \"Stack $STACK is not supported!\"; exit 1 ;; esac\n",
    );
    app.commit("Picky");
    let said = build(&site, &app, &["--buildpack", "inline"])
        .failure(1)
        .stderr;
    assert!(
        said.contains("accept only names such as heroku-24"),
        "{said}"
    );
    let arguments = ["--buildpack", "inline", "--stack-env", "heroku-24"];
    build(&site, &app, &arguments).success();
    // One that fails for another reason is not blamed on the stack.
    app.write("bin/compile", "#!/bin/sh\necho no; exit 1\n");
    let said = build(&site, &app, &["--buildpack", "inline"])
        .failure(1)
        .stderr;
    assert!(!said.contains("heroku-24"), "{said}");
}

#[test]
fn a_server_fetches_nothing_from_private_addresses() {
    let site = Site::new();
    let origin = Origin::new(&site);
    origin.repository(&site, "pack.git", "only_detect_and_compile");
    origin.tarball(&site, "pack.tgz", "only_detect_and_compile");
    let app = site.app("hello", "no_language");
    for url in [
        origin.url("pack.git"),
        origin.url("pack.tgz"),
        origin.url("pack.tgz").replace("127.0.0.1", "localhost"),
        origin
            .url("pack.git")
            .replace("127.0.0.1", "[::ffff:127.0.0.1]"),
        "http://169.254.169.254/latest/x.tgz".to_owned(),
        "http://10.1.2.3/pack.git".to_owned(),
        site.url().to_owned() + "/hello.git",
    ] {
        app.slugline(&["buildpacks:set", &url]).success();
        let said = app.push().failure(1).stderr;
        assert!(
            said.contains("The server does not fetch from there."),
            "{url}: {said}"
        );
    }
    let source = json!({ "source_blob": { "url": origin.url("pack.tgz") } });
    let (status, build) = site.api("POST", "/apps/hello/builds", Some(source));
    assert_eq!(status, 201, "{build}");
    let output = build["output_stream_url"].as_str().unwrap();
    let text = crate::site::agent().get(output).call().unwrap();
    let text = text.into_body().read_to_string().unwrap();
    assert!(
        text.contains("The server does not fetch from there."),
        "{text}"
    );
    assert_eq!(origin.requests(), 0);
    // The person at the machine may.
    build_with_origin(&site, &app, &origin);
}

fn build_with_origin(site: &Site, app: &Repository<'_>, origin: &Origin) {
    build(site, app, &["--buildpack", &origin.url("pack.git")]).success();
    build(site, app, &["--buildpack", &origin.url("pack.tgz")]).success();
}

#[test]
fn what_a_source_names_itself_counts_where_heroku_reads_it() {
    let site = Site::with(&["--create-on-push"]);
    let app = site.repository("app", "no_language");
    app.write("bin/detect", "#!/bin/sh\necho Own\n");
    app.write(
        "bin/compile",
        "#!/bin/sh\ncat \"$3/LEVEL\" 2>/dev/null; echo\n",
    );
    app.write("app.json", r#"{"buildpacks": [{"url": "inline"}]}"#);
    app.commit("Own");
    // An app that its push sets up.
    let url = format!("{}/fresh.git", site.url());
    app.git(&["remote", "add", "slugline", &url]).success();
    let push = || site.git_in(&app.dir, &["push", "slugline", "main"]);
    let said = push().success().stderr;
    assert!(said.contains("-----> Reading app.json"), "{said}");
    let path = "/apps/fresh/buildpack-installations";
    assert_eq!(names(&site.api("GET", path, None).1), ["inline"]);
    // Later on a push does not read it.
    site.api("PUT", path, Some(json!({ "updates": [] })));
    app.write("more", "");
    app.commit("More");
    let said = push().failure(1).stderr;
    assert!(said.contains("A push does not read app.json."), "{said}");
    assert!(said.contains("slugline buildpacks set inline"), "{said}");
    // Without an app, project.toml goes first.
    app.write(
        "project.toml",
        "[[io.buildpacks.group]]\nid = \"inline\"\n[[io.buildpacks.build.env]]\nname = \"LEVEL\"\nvalue = \"level of project\"\n",
    );
    app.git(&["add", "--all"]).success();
    let said = build(&site, &app, &[]).success().stderr;
    assert!(said.contains("-----> Reading project.toml"), "{said}");
    assert!(said.contains("level of project"), "{said}");
    let said = build(&site, &app, &["--env", "LEVEL=mine"])
        .success()
        .stderr;
    assert!(
        said.contains("mine") && !said.contains("level of project"),
        "{said}"
    );
    app.write(
        "project.toml",
        "[[io.buildpacks.group]]\nuri = \"file:///etc\"\n",
    );
    app.git(&["add", "--all"]).success();
    build(&site, &app, &[]).failure(2);
    app.write("project.toml", "not toml");
    app.git(&["add", "--all"]).success();
    let said = build(&site, &app, &[]).failure(1).stderr;
    assert!(said.contains("project.toml cannot be read"), "{said}");
}

#[test]
fn a_build_that_empties_the_cache_and_fails_changes_nothing() {
    let site = Site::new();
    let app = site.app("hello", "inline_shell");
    let build = |script: &str| {
        app.write("bin/compile", &format!("#!/bin/sh\n{script}\n"));
        app.commit("Change");
        app.push()
    };
    app.slugline(&["buildpacks:set", "inline"]).success();
    build("echo good >\"$2/kept\"").success();
    build("rm -rf \"$2\"/* \"$2\"; exit 1").failure(1);
    build("echo evil >\"$2/kept\"; echo more >\"$2/new\"; exit 1").failure(1);
    let said = build("cat \"$2/kept\"; ls \"$2\" | wc -l").success().stderr;
    assert!(said.contains("remote: good"), "{said}");
    assert!(!said.contains("evil"), "{said}");
}

#[test]
fn many_who_follow_a_build_keep_nobody_waiting() {
    use std::io::{Read as _, Write as _};
    use std::net::TcpStream;
    let site = Site::new();
    let app = site.app("hello", "inline_shell");
    app.slugline(&["buildpacks:set", "inline"]).success();
    let go = "until test -e /cache/../tmp/go; do sleep 0.1; done";
    app.write(
        "bin/compile",
        &format!("#!/bin/sh\necho begun\n{go}\necho done\n"),
    );
    app.commit("Wait");
    let mut push = app.git_command(&["push", "slugline", "main"]);
    let push = push.stderr(std::process::Stdio::null()).spawn().unwrap();
    let build = || site.api("GET", "/apps/hello/builds", None).1[0].clone();
    crate::site::eventually("the build is there", || build()["id"].is_string());
    let url = build()["output_stream_url"].as_str().unwrap().to_owned();
    let (host, path) = url
        .strip_prefix("http://")
        .unwrap()
        .split_once('/')
        .unwrap();
    let followers = (0..100).map(|_| {
        let mut stream = TcpStream::connect(host).unwrap();
        write!(stream, "GET /{path} HTTP/1.0\r\n\r\n").unwrap();
        let mut first = [0; 12];
        stream.read_exact(&mut first).unwrap();
        assert!(first.ends_with(b" 200"), "{first:?}");
        stream
    });
    let mut followers = followers.collect::<Vec<_>>();
    // None of them holds a thread of the server for as long as the build takes; those that have had
    // a look wait for more work for ten seconds.
    let threads = || {
        fs::read_dir(format!("/proc/{}/task", site.server_id()))
            .unwrap()
            .count()
    };
    crate::site::eventually("the threads are few", || threads() < 60);
    let id = build()["id"].as_str().unwrap().to_owned();
    let cancelled = site.api("DELETE", &format!("/apps/hello/builds/{id}"), None);
    assert_eq!(cancelled.0, 200, "{}", cancelled.1);
    let mut text = String::new();
    followers.pop().unwrap().read_to_string(&mut text).unwrap();
    assert!(text.contains("The build was cancelled."), "{text}");
    push.wait_with_output().unwrap();
}
