//! Language runtimes: the commands around them, and what builds get of them.

use std::fs;
use std::path::Path;

use serde_json::Value;

use crate::site::{Ran, SLUGLINE, Site, fixture};

/// A machine with runtimes of its own, none yet, and no source that is asked.
fn offline() -> Site {
    Site::without_server()
}

fn run(site: &Site, settings: &[(&str, &str)], arguments: &[&str]) -> Ran {
    let mut command = site.command(Path::new(SLUGLINE));
    command
        .env("SLUGLINE_RUNTIME_DIR", site.path("runtimes"))
        .env("SLUGLINE_RUNTIME_OFFLINE", "true")
        .envs(settings.iter().copied())
        .args(arguments);
    Ran::new(command.output().unwrap())
}

/// The Python of this machine, as the inventory has it.
fn version(site: &Site) -> String {
    let listed = run(site, &[], &["runtime", "list", "python", "--json"]).success();
    let listed: Value = serde_json::from_str(&listed.stdout).unwrap();
    let own = listed.as_array().unwrap().iter();
    let mut own = own.filter(|one| {
        one["origin"]
            .as_str()
            .unwrap()
            .starts_with("this machine's")
    });
    let own = own.next().expect("apt-get install python3 python3-venv");
    own["version"].as_str().unwrap().to_owned()
}

/// A mirror with an archive of this machine's Python, and the inventory that names it with a digest.
fn mirror(site: &Site, digest: impl Fn(String) -> String) -> (String, String) {
    let version = version(site);
    let imported = run(
        site,
        &[],
        &["runtime", "import", "python", &version, "/usr"],
    )
    .success();
    let hex = imported
        .stdout
        .trim()
        .trim_start_matches("sha256:")
        .to_owned();
    let tree = site.path("runtimes/trees").join(&hex);
    fs::create_dir(site.path("mirror")).unwrap();
    let archive = site.path("mirror/python.tgz");
    let mut tar = site.command(Path::new("tar"));
    tar.arg("-czf").arg(&archive).arg("-C").arg(&tree);
    tar.args(["--transform", "s,^[.],python,", "."]);
    Ran::new(tar.output().unwrap()).success();
    let sum = slugline::digest::Digest::of(&fs::read(&archive).unwrap()).hex();
    fs::remove_dir_all(site.path("runtimes")).unwrap();
    fs::create_dir_all(site.path("runtimes/inventory")).unwrap();
    let list = format!(
        "[[release]]\nversion = \"{version}\"\narch = \"{}\"\n\
         sources = [{{ url = \"https://example.org/dist/python.tgz\", sha256 = \"{}\" }}]\n",
        std::env::consts::ARCH,
        digest(sum),
    );
    fs::write(site.path("runtimes/inventory/python.releases.toml"), list).unwrap();
    let mirror = format!(
        "https://example.org/dist/=file://{}/",
        site.path("mirror").display()
    );
    (version, mirror)
}

#[test]
fn a_version_is_fetched_from_a_mirror_listed_and_forgotten() {
    let site = offline();
    let (version, mirror) = mirror(&site, |sum| sum);
    let settings = [
        ("SLUGLINE_RUNTIME_OFFLINE", "false"),
        ("SLUGLINE_RUNTIME_HOST", "false"),
        ("SLUGLINE_RUNTIME_MIRRORS", mirror.as_str()),
    ];
    let listed = run(&site, &settings, &["runtime", "list", "python"]).success();
    assert!(listed.stdout.contains(&version), "{}", listed.stdout);
    assert!(!listed.stdout.contains("  here  "), "{}", listed.stdout);
    let fetched = run(&site, &settings, &["runtime", "fetch", "python", "3"]).success();
    assert!(
        fetched
            .stderr
            .contains("fetched: python.tgz of example.org"),
        "{}",
        fetched.stderr
    );
    // From now on it takes no source.
    fs::remove_dir_all(site.path("mirror")).unwrap();
    let offline = [("SLUGLINE_RUNTIME_HOST", "false")];
    let listed = run(&site, &offline, &["runtime", "list"]).success();
    assert!(listed.stdout.contains("  here  "), "{}", listed.stdout);
    let again = run(&site, &offline, &["runtime", "fetch", "python", &version]).success();
    assert_eq!(again.stdout, fetched.stdout);
    let kept = run(&site, &offline, &["runtime", "gc"]).success();
    assert!(
        kept.stderr.contains("Nothing is old enough."),
        "{}",
        kept.stderr
    );
    let gone = run(&site, &offline, &["runtime", "gc", "--grace-hours", "0"]).success();
    assert!(
        gone.stdout
            .starts_with(&format!("removed python {version} (")),
        "{}",
        gone.stdout
    );
    let missing = run(&site, &offline, &["runtime", "fetch", "python", &version]).failure(2);
    assert!(
        missing.stderr.contains("There is no python"),
        "{}",
        missing.stderr
    );
}

#[test]
fn what_cannot_be_meant_is_said() {
    let site = offline();
    let version = version(&site);
    for (arguments, code, words) in [
        (vec!["list", "cobol"], 2, "There are: node, python."),
        (vec!["fetch", "python", "2.7"], 2, version.as_str()),
        (
            vec!["import", "python", "3.99", "/usr"],
            2,
            "None of its programs says a version.",
        ),
        (
            vec!["import", "node", "20", "/etc"],
            2,
            "/etc has no Node.js of the version 20",
        ),
        (
            vec!["update", "cobol"],
            2,
            "there is no list of cobol's releases",
        ),
    ] {
        let arguments = [&["runtime"][..], &arguments].concat();
        let ran = run(&site, &[], &arguments).failure(code);
        let said = ran.stderr.replace("\n !     ", " ").to_lowercase();
        assert!(
            said.contains(&words.to_lowercase()),
            "{arguments:?}: {}",
            ran.stderr
        );
    }
    let settings = [("SLUGLINE_RUNTIME_MIRRORS", "https://example.org/")];
    let wrong = run(&site, &settings, &["runtime", "list"]).failure(2);
    assert!(
        wrong.stderr.contains("FROM=TO of addresses"),
        "{}",
        wrong.stderr
    );
}

#[test]
fn an_archive_with_another_digest_ends_the_build() {
    let site = offline();
    let (_, mirror) = mirror(&site, |sum| sum.chars().rev().collect());
    let app = fixture("python_standard_library");
    let settings = [
        ("SLUGLINE_RUNTIME_OFFLINE", "false"),
        ("SLUGLINE_RUNTIME_MIRRORS", mirror.as_str()),
    ];
    // Though this machine has the same version itself.
    let built = run(&site, &settings, &["build", app.to_str().unwrap()]).failure(1);
    let said = built.stderr.replace("\n !     ", " ");
    assert!(
        said.contains("python.tgz of example.org has the digest "),
        "{said}"
    );
    assert!(said.contains("and its inventory says"), "{said}");
    assert!(!site.path("runtimes/kept").exists());
}

/// Though there are versions that would do: a mirror that has none of them.
#[test]
fn what_cannot_be_downloaded_is_not_called_unknown() {
    let site = offline();
    let (version, mirror) = mirror(&site, |sum| sum);
    fs::remove_file(site.path("mirror/python.tgz")).unwrap();
    let settings = [
        ("SLUGLINE_RUNTIME_OFFLINE", "false"),
        ("SLUGLINE_RUNTIME_HOST", "false"),
        ("SLUGLINE_RUNTIME_MIRRORS", mirror.as_str()),
    ];
    let app = fixture("python_standard_library");
    let built = run(&site, &settings, &["build", app.to_str().unwrap()]).failure(1);
    let said = built.stderr.replace("\n !     ", " ");
    assert!(said.contains("Error: Unable to download Python."), "{said}");
    assert!(
        said.contains("Not fetched: python.tgz of example.org"),
        "{said}"
    );
    assert!(!said.contains("isn't recognised"), "{version}: {said}");
}

/// An app whose own `bin/compile` asks for Python.
const ASKING: &str = r#"#!/bin/sh
set -eu
slugline buildpack-tool runtime list python --here >/tmp/offers
read -r version origin </tmp/offers
echo "offered: $origin"
slugline buildpack-tool runtime get python 1.2.3 && exit 1
eval "$(slugline buildpack-tool runtime get python "$version")"
echo "got: ${runtime_path%/*} $runtime_origin"
echo x 2>/dev/null >"$runtime_path/new" && exit 1
cd /
LD_LIBRARY_PATH=$runtime_path/lib/machine "$runtime_path/bin/python3" -c 'import sqlite3, ssl, sys; print("prefix:", sys.prefix == sys.argv[1])' "$runtime_path"
slugline buildpack-tool runtime show python "$version" "$1/python"
echo "shown: $("$1/python/bin/python3" -c 'print(6 * 7)')"
"#;

#[test]
fn a_build_without_a_network_gets_a_runtime_and_the_record_says_which() {
    let site = offline();
    let version = version(&site);
    let app = site.repository("app", "no_language");
    app.write("bin/detect", "#!/bin/sh\necho Asking\n");
    app.write("bin/compile", ASKING);
    app.commit("Asking");
    let arguments = ["build", "app", "--buildpack", "inline"];
    let built = run(&site, &[("SLUGLINE_NETWORK", "off")], &arguments).success();
    let own = "this machine's /usr/bin/python3";
    for line in [
        format!("offered: {own}"),
        format!("got: /run/slugline/runtimes {own}"),
        "prefix: True".to_owned(),
        "shown: 42".to_owned(),
    ] {
        assert!(built.stderr.contains(&line), "{line}: {}", built.stderr);
    }
    assert!(
        built.stderr.contains("Python 1.2.3 is in no inventory"),
        "{}",
        built.stderr
    );
    let record = fs::read(site.path("slug.tgz.record.json")).unwrap();
    let record: Value = serde_json::from_slice(&record).unwrap();
    let trees = record["runtime_trees"].as_array().unwrap();
    assert_eq!(trees.len(), 1);
    assert_eq!(trees[0]["name"], "python");
    assert_eq!(trees[0]["version"], version.as_str());
    assert!(trees[0]["origin"].as_str().unwrap().starts_with(own));
    let hex = trees[0]["digest"]
        .as_str()
        .unwrap()
        .trim_start_matches("sha256:")
        .to_owned();
    assert!(site.path("runtimes/trees").join(hex).is_dir());
}
