//! Stacks: root file systems that apps are built and run on.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use crate::site::{Ran, Repository, Site};

/// A root file system with nothing but busybox, whose `/etc/os-release` says `text`.
fn small_root(site: &Site, name: &str, text: &str) -> PathBuf {
    let root = site.path(name);
    fs::create_dir_all(root.join("bin")).unwrap();
    fs::create_dir_all(root.join("etc")).unwrap();
    fs::create_dir_all(root.join("usr/share")).unwrap();
    fs::create_dir_all(root.join("dev")).unwrap();
    let busybox = ["/bin/busybox", "/usr/bin/busybox"].into_iter();
    let busybox = busybox.map(Path::new).find(|path| path.exists());
    let busybox = busybox.expect("apt-get install busybox-static");
    fs::copy(busybox, root.join("bin/busybox")).unwrap();
    for program in [
        "sh", "cat", "chmod", "cp", "env", "ls", "mkdir", "mktemp", "rm", "sed", "tar", "timeout",
    ] {
        symlink("busybox", root.join("bin").join(program)).unwrap();
    }
    // The host's files are not reached through it.
    symlink("/etc/hostname", root.join("etc/services")).unwrap();
    fs::write(root.join("etc/os-release"), text).unwrap();
    root
}

fn app<'a>(site: &'a Site, compile: &str) -> Repository<'a> {
    let app = site.app("hello", "no_language");
    app.write("bin/detect", "#!/bin/sh\necho Small\n");
    app.write("bin/compile", &format!("#!/bin/sh\nset -e\n{compile}"));
    app.write("Procfile", "web: cat /etc/os-release\n");
    app.commit("Small");
    app.slugline(&["buildpacks:set", "inline"]).success();
    app
}

fn import(site: &Site, name: &str, source: &Path) -> Ran {
    site.slugline(&["stack", "import", name, source.to_str().unwrap()])
}

fn current_slug(site: &Site) -> Value {
    let release = site.api("GET", "/apps/hello/releases/current", None).1;
    let id = release["slug"]["id"].as_str().unwrap().to_owned();
    site.api("GET", &format!("/apps/hello/slugs/{id}"), None).1
}

#[test]
fn an_app_is_built_on_an_imported_root() {
    let site = Site::new();
    let app = app(
        &site,
        "cat /etc/os-release\necho \"STACK is $STACK\"\nls /usr\ncat /etc/services || true\n\
         slugline buildpack-tool cache save x /app/bin && slugline buildpack-tool cache restore x /tmp/x && ls /tmp/x\nls -A \"$2\"\n\
         echo kept >\"$2/kept\"\n",
    );
    let said = app.push().success().stderr;
    assert!(!said.contains("ID=small"), "{said}");

    let root = small_root(&site, "rootfs", "ID=small\n");
    let tar = site.path("rootfs.tar");
    let arguments = [
        "-cf",
        tar.to_str().unwrap(),
        "-C",
        root.to_str().unwrap(),
        ".",
    ];
    let packed = site.command(Path::new("tar")).args(arguments).output();
    Ran::new(packed.unwrap()).success();
    let digest = import(&site, "small-1", &tar).success().stdout;
    // The same as a directory is the same stack.
    assert_eq!(import(&site, "small-1", &root).success().stdout, digest);
    let listed = site.slugline(&["stack", "list", "--json"]).success().stdout;
    let listed: Value = serde_json::from_str(&listed).unwrap();
    assert_eq!(listed[1]["name"], "small-1");
    assert_eq!(listed[1]["digest"], digest.trim());

    app.slugline(&["apps:set", "hello", "--stack", "small-1"])
        .success();
    app.write("more", "");
    app.commit("More");
    let said = app.push().success().stderr;
    let lines = said
        .lines()
        .map(|line| line.trim_start_matches("remote: ").trim_end());
    let lines = lines.collect::<Vec<_>>();
    for line in [
        "-----> Building on the small-1 stack",
        "ID=small",
        "STACK is small-1",
        "share",
        "-----> Small app detected",
        // Our binary runs with its own libraries where the stack has none.
        "compile",
    ] {
        assert!(lines.contains(&line), "{line} in {said}");
    }
    assert!(
        said.contains(" to small-1: the build cache is discarded"),
        "{said}"
    );
    assert!(!lines.contains(&"kept"), "{said}");
    let slug = current_slug(&site);
    assert_eq!(slug["stack"]["name"], "small-1");
    assert_eq!(slug["record"]["stack_digest"], digest.trim());
    assert_eq!(slug["record"]["architecture"], std::env::consts::ARCH);

    // Another root under the same name is another stack: what was kept on it does not fit.
    import(
        &site,
        "small-1",
        &small_root(&site, "rootfs-2", "ID=smaller\n"),
    )
    .success();
    app.slugline(&["apps:set", "-a", "hello", "--stack-env", "heroku-24"])
        .success();
    app.write("more", "more");
    app.commit("More");
    let said = app.push().success().stderr;
    assert!(said.contains("ID=smaller"), "{said}");
    assert!(said.contains("STACK is heroku-24"), "{said}");
    assert!(
        said.contains("-----> The stack small-1 has changed: the build cache is discarded"),
        "{said}"
    );
    app.write("more", "even more");
    app.commit("More");
    let said = app.push().success().stderr;
    assert!(
        !said.contains("discarded") && said.contains("kept"),
        "{said}"
    );
}

#[test]
fn a_stack_is_named_and_chosen() {
    let site = Site::new();
    let app = app(&site, ":\n");
    import(&site, "small-1", &small_root(&site, "rootfs", "ID=small\n")).success();
    app.slugline(&[
        "apps:set",
        "hello",
        "--stack",
        "small-1",
        "--stack-env",
        "heroku-24",
    ])
    .success();
    let shown = site.slugline(&["apps", "info", "hello"]).success().stdout;
    assert!(
        shown.contains("small-1") && shown.contains("heroku-24"),
        "{shown}"
    );
    app.slugline(&[
        "apps:set",
        "hello",
        "--stack",
        "default",
        "--stack-env",
        "default",
    ])
    .success();
    let shown = site.api("GET", "/apps/hello", None).1;
    assert_eq!(shown["stack_env"], Value::Null);
    let text = app
        .slugline(&["apps:set", "hello", "--stack", "none-1"])
        .failure(2);
    assert!(text.stderr.contains("small-1"), "{}", text.stderr);
    let (status, answer) = site.api(
        "PATCH",
        "/apps/hello",
        Some(json!({ "build_stack": "../x" })),
    );
    assert_eq!((status, &answer["id"]), (422, &json!("invalid_params")));
    site.slugline(&["stack", "remove", "small-1"]).success();
    site.slugline(&["stack", "remove", "small-1"]).failure(2);
}

#[test]
fn a_hostile_root_is_refused() {
    let site = Site::without_server();
    let root = small_root(&site, "rootfs", "ID=small\n");
    fs::remove_dir_all(root.join("etc")).unwrap();
    symlink("/etc", root.join("etc")).unwrap();
    let said = import(&site, "small", &root).failure(2).stderr;
    assert!(said.contains("/etc is no directory"), "{said}");
    let fifo = small_root(&site, "fifo", "");
    nix::unistd::mkfifo(&fifo.join("usr/pipe"), nix::sys::stat::Mode::S_IRWXU).unwrap();
    let said = import(&site, "small", &fifo).failure(2).stderr;
    assert!(said.contains("usr/pipe is a"), "{said}");
    let shown = site.slugline(&["stack"]).success().stdout;
    assert!(!shown.contains("small"), "{shown}");
}

#[test]
fn a_local_build_on_a_stack_has_what_it_says_as_stack() {
    let site = Site::without_server();
    let app = site.repository("app", "no_language");
    app.write("bin/detect", "#!/bin/sh\necho Small\n");
    app.write(
        "bin/compile",
        "#!/bin/sh\necho \"STACK is $STACK\"; cat /etc/os-release\n",
    );
    app.commit("Small");
    import(&site, "small", &small_root(&site, "rootfs", "ID=small\n")).success();
    let out = site.path("slug.tgz");
    let mut arguments = vec![
        "build",
        app.dir.to_str().unwrap(),
        "--output",
        out.to_str().unwrap(),
    ];
    arguments.extend(["--buildpack", "inline", "--stack", "small"]);
    let said = site.slugline(&arguments).success().stderr;
    assert!(
        said.contains("STACK is small") && said.contains("ID=small"),
        "{said}"
    );
    arguments.extend(["--stack-env", "heroku-26"]);
    let said = site.slugline(&arguments).success().stderr;
    assert!(said.contains("STACK is heroku-26"), "{said}");
}
