//! Buildpacks by URL, and from where the server fetches nothing.

use std::fs;
use std::net::TcpListener;

use serde_json::json;

use crate::origin::Origin;
use crate::site::{Repository, Site, build};

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

/// Where the server may fetch from one port of this machine, that port leads it nowhere else.
#[test]
fn a_redirection_leads_nowhere_else() {
    let mut site = Site::without_server();
    let open = Origin::new(&site);
    let (allowed, port) = (open.address(), open.address().port());
    assert!(site.try_start(&[], &[("SLUGLINE_NETWORK_ALLOW", &allowed.to_string())]));
    let app = site.app("hello", "no_language");
    let push = |buildpack: &str| {
        app.slugline(&["buildpacks:set", buildpack]).success();
        app.push()
    };
    let build = |url: &str| {
        let source = json!({ "source_blob": { "url": url } });
        let (status, build) = site.api("POST", "/apps/hello/builds", Some(source));
        assert_eq!(status, 201, "{build}");
        let output = build["output_stream_url"].as_str().unwrap();
        let text = crate::site::agent().get(output).call().unwrap();
        text.into_body().read_to_string().unwrap()
    };
    // What must not be reached: a port of this machine that is not allowed.
    let closed = TcpListener::bind("127.0.0.1:0").unwrap();
    closed.set_nonblocking(true).unwrap();
    let other = closed.local_addr().unwrap();
    let refused = [
        format!("http://{other}/x"),
        format!("http://localhost:{}/x", other.port()),
        format!("http://[::1]:{port}/x"),
        format!("http://[::ffff:127.0.0.1]:{}/x", other.port()),
        format!("http://2130706433:{}/x", other.port()),
        "http://169.254.169.254/latest/meta-data/".to_owned(),
        "http://[fd00:ec2::254]/latest/".to_owned(),
        "http://10.1.2.3/x".to_owned(),
        "http://192.168.0.1/x".to_owned(),
        "https://172.16.0.1/x".to_owned(),
        format!("{}/apps", site.url()),
    ];
    for target in &refused {
        open.redirect("pack.tgz", target);
        open.redirect("pack.git/info/refs", target);
        for said in [
            push(&open.url("pack.tgz")).failure(1).stderr,
            push(&open.url("pack.git")).failure(1).stderr,
            build(&open.url("pack.tgz")),
        ] {
            assert!(
                said.contains("The server does not fetch from there."),
                "{target}: {said}"
            );
        }
    }
    // Other protocols are not even tried.
    for target in [
        "file:///etc/passwd",
        "ftp://127.0.0.1/x",
        "ext::sh%20-c%20id",
        "ssh://127.0.0.1/x",
    ] {
        open.redirect("pack.tgz", target);
        open.redirect("pack.git/info/refs", target);
        let said = push(&open.url("pack.tgz")).failure(1).stderr;
        assert!(said.contains("could not be fetched"), "{target}: {said}");
        let said = push(&open.url("pack.git")).failure(1).stderr;
        assert!(said.contains("could not be fetched"), "{target}: {said}");
        let said = build(&open.url("pack.tgz"));
        assert!(said.contains("could not be fetched"), "{target}: {said}");
    }
    let error = closed.accept().unwrap_err();
    assert_eq!(error.kind(), std::io::ErrorKind::WouldBlock);
    // One that leads to where the server may go is followed.
    open.tarball(&site, "real.tgz", "only_detect_and_compile");
    open.redirect("pack.tgz", &open.url("real.tgz"));
    push(&open.url("pack.tgz")).success();
}
