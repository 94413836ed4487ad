//! What buildpacks are run with, and what becomes of what they leave.

use std::fs;

use serde_json::{Value, json};

use crate::origin::fixture_buildpack;
use crate::site::{Ran, SLUGLINE, Site, build};

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
        "#!/bin/sh\ntouch \"$1/x\" 2>/dev/null && exit 1\nls -A /env | grep -q . && exit 1\nenv | grep -q SECRET && exit 1\ngrep : /proc/net/dev | grep -qv lo: && exit 1\necho Careful\n",
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

/// A local build of an app whose own scripts are these, without any network.
fn own_scripts(site: &Site, scripts: &[(&str, &str)]) -> String {
    let app = site.repository("app", "no_language");
    app.write("bin/detect", "#!/bin/sh\necho Own\n");
    for (name, text) in scripts {
        app.write(name, text);
    }
    app.commit("Own");
    let mut built = site.command(SLUGLINE.as_ref());
    built
        .args(["build", app.dir.to_str().unwrap(), "--buildpack", "inline"])
        .arg("--output")
        .arg(site.path("slug.tgz"))
        .env("SLUGLINE_NETWORK", "off");
    let built = Ran::new(built.output().unwrap());
    built.success().stderr
}

#[test]
fn the_environment_is_the_documented_one() {
    let site = Site::without_server();
    let compile = "#!/bin/sh\nenv | sed 's/^/seen: /' | sort; id -u | sed 's/^/uid: /'; pwd | sed 's/^/cwd: /'\n";
    let said = own_scripts(&site, &[("bin/compile", compile)]);
    let seen = said.lines().filter_map(|line| line.strip_prefix("seen: "));
    let (certificates, rest): (Vec<_>, Vec<_>) =
        seen.partition(|one| one.ends_with("/etc/ssl/certs/ca-certificates.crt"));
    let head = Ran::new(
        site.command("git".as_ref())
            .args(["-C", "app", "rev-parse", "HEAD"])
            .output()
            .unwrap(),
    );
    let stack = rest.iter().find(|one| one.starts_with("STACK="));
    assert_eq!(
        rest,
        [
            "DYNO=build.1",
            "HOME=/app",
            "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin:/run/slugline/bin",
            "PWD=/app",
            "REQUEST_ID=00000000-0000-4000-8000-000000000000",
            &format!("SOURCE_VERSION={}", head.success().stdout.trim()),
            stack.unwrap(),
        ]
    );
    let names = certificates.iter().map(|one| one.split('=').next());
    assert!(
        names.clone().any(|name| name == Some("SSL_CERT_FILE")),
        "{said}"
    );
    assert!(
        said.contains("uid: 1000\n") && said.contains("cwd: /app\n"),
        "{said}"
    );
}

#[test]
fn a_release_script_may_say_nothing_in_many_ways() {
    for says in [
        "",
        "echo",
        "echo ---",
        "echo '--- {}'",
        "echo '--- ~'",
        "echo addons: []; echo config_vars:",
        "echo default_process_types:",
        "echo 'default_process_types: {}'",
        "printf 'default_process_types:\\n  web: ~\\n'",
    ] {
        let site = Site::without_server();
        let release = format!("#!/bin/sh\n{says}\n");
        let scripts = [("bin/compile", "#!/bin/sh\n"), ("bin/release", &release)];
        own_scripts(&site, &scripts);
        assert_eq!(record(&site)["process_types"], json!({}), "{says}");
    }
}

#[test]
fn a_procfile_is_read_tolerantly_and_goes_over_the_defaults() {
    let site = Site::without_server();
    let said = own_scripts(
        &site,
        &[
            ("bin/compile", "#!/bin/sh\n"),
            (
                "bin/release",
                "#!/bin/sh\nprintf 'default_process_types:\\n  web: of the buildpack\\n  console: irb\\n'\n",
            ),
            (
                "Procfile",
                "# Processes\r\nweb:first\r\n\r\nrelease : ./migrate  \nMy_job-2:\tx\nweb: $PORT: y\n",
            ),
        ],
    );
    let warning =
        " !     Warning: Line 6 of the Procfile declares \"web\" again; the last line counts.";
    assert!(said.contains(warning), "{said}");
    let table = "       Procfile declares types     -> My_job-2, release, web\n       Default types for buildpack -> console\n";
    assert!(said.contains(table), "{said}");
    assert_eq!(
        record(&site)["process_types"],
        json!({ "My_job-2": "x", "console": "irb", "release": "./migrate", "web": "$PORT: y" })
    );
}
