//! Slugs that run: from a file and from an app's release.

use std::io::BufRead;
use std::path::Path;
use std::process::Stdio;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::running_slug::Running;
use crate::site::{SLUGLINE, Site, eventually};

#[test]
fn the_flask_tutorial() {
    let site = Site::new();
    let app = site.app("tutorial", "python_flask");
    app.push().success();
    app.slugline(&["config:set", "GREETING=hello world"])
        .success();
    // As a dyno, with the config var once its release runs.
    let answer = |path: &str| crate::dynos::get(&site, "tutorial", path);
    assert_eq!(answer("/"), (200, "Hello from Slugline".to_owned()));
    eventually("the config var", || {
        answer("/env/GREETING").1 == "hello world"
    });
    let mut run = site.command(Path::new(SLUGLINE));
    run.args(["run", "--local", "-a", "tutorial", "web"]);
    let mut web = Running::start(run);
    assert_eq!(web.get("/"), (200, "Hello from Slugline".to_owned()));
    assert_eq!(web.get("/env/GREETING"), (200, "hello world".to_owned()));
    assert_eq!(web.get("/env/DYNO"), (200, "web.1".to_owned()));
    assert_eq!(web.get("/env/HOME"), (200, "/app".to_owned()));
    assert_eq!(
        web.get("/env/SLUGLINE_DATA").0,
        404,
        "nothing of the caller's environment"
    );
    assert_eq!(web.get("/env/NOTHING").0, 404);
}

#[test]
fn a_node_app_by_its_default_process_type() {
    let site = Site::new();
    let app = site.app("hello", "nodejs_http");
    app.push().success();
    let answer = crate::dynos::get(&site, "hello", "/");
    assert_eq!(answer, (200, "Hello from Slugline".to_owned()));
    crate::dynos::logged(
        &site,
        "hello",
        "heroku[web.1]: State changed from starting to up",
    );
    let mut run = site.command(Path::new(SLUGLINE));
    // The app comes from the work tree's remote, the type is web.
    run.args(["run", "--local"]).current_dir(&app.dir);
    let mut web = Running::start(run);
    assert_eq!(web.get("/"), (200, "Hello from Slugline".to_owned()));
}

fn built(site: &Site, fixture: &str, buildpack: &[&str]) -> String {
    let app = site.repository("app", fixture);
    let out = site.path("slug.tgz").to_str().unwrap().to_owned();
    site.slugline(
        &[
            &["build", app.dir.to_str().unwrap(), "--output", &out],
            buildpack,
        ]
        .concat(),
    )
    .success();
    out
}

/// As when `nohup` has started the server.
#[test]
fn what_its_starter_ignores_a_command_hears() {
    let site = Site::without_server();
    let slug = built(&site, "nodejs_http", &[]);
    let mut run = site.command(Path::new("env"));
    let ignored = "--ignore-signal=CHLD,HUP,INT,TERM,USR1";
    run.args([ignored, SLUGLINE, "run", &slug, "--"]);
    run.args(["bash", "-c"]);
    run.arg("for one in HUP INT TERM USR1; do trap \"echo $one\" $one; kill -$one $$; done");
    let ran = run.output().unwrap();
    let [said, errors] = [ran.stdout, ran.stderr].map(|text| String::from_utf8(text).unwrap());
    assert_eq!(errors, "");
    assert_eq!(said, "HUP\nINT\nTERM\nUSR1\n");
}

#[test]
fn a_slug_s_file_runs_with_no_server() {
    let site = Site::without_server();
    let slug = built(&site, "nodejs_http", &[]);
    let mut run = site.command(Path::new(SLUGLINE));
    run.args(["run", &slug]);
    assert_eq!(Running::start(run).get("/").0, 200);

    let echo = site
        .slugline(&["run", &slug, "--", "echo $DYNO in $PWD as $(id -u); exit 7"])
        .failure(7);
    assert_eq!(echo.stdout, "run.1 in /app as 1000\n");
    let quoted = site
        .slugline(&["run", &slug, "--", "printf", "%s|", "a b", "$HOME"])
        .success();
    assert_eq!(quoted.stdout, "a b|$HOME|");
    let config = site
        .slugline(&["run", &slug, "--env", "A=1", "--", "echo $A"])
        .success();
    assert_eq!(config.stdout, "1\n");
    let unknown = site.slugline(&["run", &slug, "worker"]).failure(2);
    assert!(
        unknown.stderr.contains("There are: web."),
        "{}",
        unknown.stderr
    );
}

#[test]
fn a_slug_of_heroku_s_own_form_runs_by_its_procfile() {
    let site = Site::without_server();
    std::fs::create_dir_all(site.path("tree/app/.profile.d")).unwrap();
    std::fs::write(site.path("tree/app/Procfile"), "hello: echo \"$WORD\"\n").unwrap();
    std::fs::write(
        site.path("tree/app/.profile.d/word.sh"),
        "export WORD=profiled\n",
    )
    .unwrap();
    let tar = site
        .command(Path::new("tar"))
        .args(["czf", "foreign.tgz", "-C", "tree", "./app"])
        .status()
        .unwrap();
    assert!(tar.success());
    assert_eq!(
        site.slugline(&["run", "foreign.tgz", "hello"])
            .success()
            .stdout,
        "profiled\n"
    );
}

#[test]
fn sigterm_ends_all_processes() {
    let site = Site::without_server();
    let slug = built(&site, "inline_shell", &["--buildpack", "inline"]);
    let mut run = site.command(Path::new(SLUGLINE));
    run.args([
        "run",
        &slug,
        "--",
        "trap 'echo got it; exit 3' TERM; echo ready; while :; do sleep 0.1; done",
    ]);
    let mut child = run.stdout(Stdio::piped()).spawn().unwrap();
    let mut stdout = std::io::BufReader::new(child.stdout.take().unwrap());
    let mut line = String::new();
    stdout.read_line(&mut line).unwrap();
    assert_eq!(line, "ready\n");
    kill(
        Pid::from_raw(i32::try_from(child.id()).unwrap()),
        Signal::SIGTERM,
    )
    .unwrap();
    line.clear();
    stdout.read_line(&mut line).unwrap();
    assert_eq!(line, "got it\n");
    assert_eq!(child.wait().unwrap().code(), Some(3));
}

#[test]
fn an_app_with_nothing_deployed() {
    let site = Site::new();
    site.slugline(&["apps", "create", "hello"]).success();
    for place in [&[][..], &["--local"]] {
        let arguments = [&["run", "-a", "hello", "web"], place].concat();
        let run = site.slugline(&arguments).failure(2);
        assert!(
            run.stderr.contains("Deploy first: git push slugline main."),
            "{}",
            run.stderr
        );
    }
}
