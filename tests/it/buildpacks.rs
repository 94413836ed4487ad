//! Buildpacks as apps choose them: by name, by detection, in their source.

use serde_json::{Value, json};

use crate::site::{Site, build};

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
