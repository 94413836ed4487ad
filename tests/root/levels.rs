//! What level 1 has that level 2 has not, and what must be the same at both.

use std::fs;
use std::process::Stdio;

use serde_json::Value;

use crate::attack::{Attack, Level};
use crate::require_root;
use crate::site::{Ran, eventually};

#[test]
fn two_builds_at_once_are_two_users() {
    require_root();
    let attacks = [Attack::new(Level::Root), Attack::new(Level::Root)];
    let mut builders = attacks.each_ref().map(|attack| {
        let script = "exec -a slugline-user sleep 5";
        attack
            .command(script, &[])
            .stderr(Stdio::null())
            .spawn()
            .unwrap()
    });
    let uids = || {
        let of = |entry: fs::DirEntry| {
            let line = fs::read(entry.path().join("cmdline")).unwrap_or_default();
            line.starts_with(b"slugline-user\0")
                .then(|| std::os::unix::fs::MetadataExt::uid(&fs::metadata(entry.path()).unwrap()))
        };
        fs::read_dir("/proc")
            .unwrap()
            .flatten()
            .filter_map(of)
            .collect::<Vec<_>>()
    };
    eventually("both run", || uids().len() == 2);
    let seen = uids();
    assert!(seen[0] != seen[1] && !seen.contains(&0), "{seen:?}");
    for builder in &mut builders {
        builder.kill().unwrap();
        builder.wait().unwrap();
    }
}

#[test]
fn an_app_has_one_digest_at_levels_1_and_2() {
    require_root();
    for fixture in ["nodejs_http", "python_flask"] {
        let digests = [Level::Root, Level::PlainUser].map(|level| {
            let attack = Attack::new(level);
            let app = attack.site.repository("repository", fixture);
            let mut command = attack.slugline();
            command.args(["build", app.dir.to_str().unwrap(), "--json", "--output"]);
            command.arg(attack.site.path("out/slug.tgz"));
            let built = Ran::new(command.output().unwrap()).success();
            let isolation = format!("Isolation: level {}", level as u8 + 1);
            assert!(built.stderr.contains(&isolation), "{}", built.stderr);
            let built: Value = serde_json::from_str(&built.stdout).unwrap();
            built["digest"].as_str().unwrap().to_owned()
        });
        assert_eq!(digests[0], digests[1], "{fixture}");
    }
}
