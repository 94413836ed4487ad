//! What `slugline buildpack-tool cache` keeps for an app's later builds.

use crate::site::{Repository, Site};

/// An app whose own `bin/compile` is `script`.
fn app<'a>(site: &'a Site, name: &str, script: &str) -> Repository<'a> {
    let app = site.repository(name, "no_language");
    app.write("bin/detect", "#!/bin/sh\necho Tool\n");
    app.write("bin/compile", &format!("#!/bin/sh\n{script}"));
    app.commit("Tool");
    app.slugline(&["apps", "create", name]).success();
    app.slugline(&["buildpacks:set", "inline"]).success();
    app
}

fn change(app: &Repository<'_>, script: &str) {
    app.write("bin/compile", &format!("#!/bin/sh\n{script}"));
    app.commit("Change");
}

/// Makes a tree, or restores it, and says what is in it.
const DEPENDENCIES: &str = r#"
cd "$1"
if slugline buildpack-tool cache restore npm:1 deps/modules; then echo "-----> Restored"
else
  echo "-----> Missing"
  mkdir -p deps/modules/a/empty && echo one >deps/modules/a/file && echo x >deps/modules/run
  chmod +x deps/modules/run && ln -s ../run deps/modules/a/link
  slugline buildpack-tool cache save npm:1 deps/modules || exit 2
fi
cat deps/modules/a/file; ls -R deps/modules | tr '\n' ' '
test -x deps/modules/a/link && echo linked
"#;

#[test]
fn a_snapshot_is_kept_when_its_step_succeeded_whatever_becomes_of_the_build() {
    let site = Site::new();
    let app = app(&site, "one", &format!("{DEPENDENCIES}\nexit 1\n"));
    let said = app.push().failure(1).stderr;
    assert!(said.contains("-----> Missing"), "{said}");
    // This one is built without any network, and writes into what it got.
    change(
        &app,
        &format!(
            "{DEPENDENCIES}\necho two >deps/modules/a/file && echo changed\n\
             for dir in /run/slugline/snapshots/*; do echo evil >$dir/a/file; rm -f $dir/a/file; touch $dir/new; done\n\
             ls -d /run/slugline/snapshots/*/a/file && echo still there\n"
        ),
    );
    let said = app.push().success().stderr;
    for line in [
        "-----> Restored",
        "linked",
        "changed",
        "still there",
        "Read-only",
    ] {
        assert!(said.contains(line), "{line} in {said}");
    }
    change(&app, DEPENDENCIES);
    let said = app.push().success().stderr;
    let lines = said
        .lines()
        .map(|line| line.trim_start_matches("remote: ").trim_end());
    assert!(lines.clone().any(|line| line == "one"), "{said}");
    assert!(
        !lines.clone().any(|line| line == "two" || line == "evil"),
        "{said}"
    );
    app.slugline(&["builds:cache:purge"]).success();
    change(&app, &format!("{DEPENDENCIES}\n:\n"));
    let said = app.push().success().stderr;
    assert!(said.contains("-----> Missing"), "{said}");
}

#[test]
fn another_app_s_snapshots_are_neither_read_nor_written() {
    let site = Site::new();
    let one = app(&site, "one", DEPENDENCIES);
    one.push().success();
    let two = app(
        &site,
        "two",
        &format!(
            "ls /run/slugline/snapshots; {DEPENDENCIES}\necho other >deps/modules/a/file\nslugline buildpack-tool cache save npm:1 deps/modules\n"
        ),
    );
    let said = two.push().success().stderr;
    assert!(said.contains("-----> Missing"), "{said}");
    change(&one, &format!("{DEPENDENCIES}\n:\n"));
    let said = one.push().success().stderr;
    assert!(
        said.contains("-----> Restored") && said.contains("remote: one"),
        "{said}"
    );
    assert!(!said.contains("other"), "{said}");
}

#[test]
fn what_cannot_be_saved_is_said() {
    let site = Site::new();
    let app = app(
        &site,
        "one",
        "cd \"$1\"\nslugline buildpack-tool cache save 'a b' bin; echo \"code $?\"\n\
         slugline buildpack-tool cache save a none; echo \"code $?\"\n\
         mkdir pipes; mkfifo pipes/pipe; slugline buildpack-tool cache save a pipes; echo \"code $?\"\nrm -r pipes\n\
         ln -s /etc link; slugline buildpack-tool cache save a link; echo \"code $?\"\nrm link\n\
         slugline buildpack-tool cache save a bin; slugline buildpack-tool cache restore a bin; echo \"code $?\"\n\
         slugline buildpack-tool cache restore none x; echo \"code $?\"\n",
    );
    let said = app.push().success().stderr;
    let codes = said.lines().filter_map(|line| {
        line.trim_start_matches("remote: ")
            .trim_end()
            .strip_prefix("code ")
    });
    assert_eq!(
        codes.collect::<Vec<_>>(),
        ["2", "1", "1", "1", "1", "1"],
        "{said}"
    );
    assert!(said.contains("none is no directory"), "{said}");
    assert!(said.contains("bin is there already"), "{said}");
    let outside = site
        .slugline(&["buildpack-tool", "cache", "restore", "a", "x"])
        .failure(2);
    assert!(
        outside.stderr.contains("inside of a build"),
        "{}",
        outside.stderr
    );
}
