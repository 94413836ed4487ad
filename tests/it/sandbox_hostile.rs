//! Hostile trees, output without end, and what is left of builds whose server was killed.

use std::fs;
use std::io::{BufRead, BufReader};
use std::os::unix::fs::{chown, symlink};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use serde_json::{Value, json};

use crate::attack::{Attack, NOBODY, levels, running};
use crate::site::{Ran, agent, eventually, files_below};

/// Names that the platform or a buildpack reads, as links to a secret.
const READ: [&str; 6] = [
    "Procfile",
    ".slugignore",
    ".profile.d",
    "requirements.txt",
    "app.json",
    "project.toml",
];

#[test]
fn links_in_the_place_of_files_that_are_read() {
    for level in levels() {
        for made_by in ["the app", "the build"] {
            for name in READ {
                let attack = Attack::new(*level);
                let secrets = attack.site.path("out/secrets");
                fs::create_dir(&secrets).unwrap();
                for file in ["secret", "x.sh"] {
                    fs::write(secrets.join(file), "web: hunter2\nhunter2\n").unwrap();
                }
                if attack.drops() {
                    for path in [
                        secrets.clone(),
                        secrets.join("secret"),
                        secrets.join("x.sh"),
                    ] {
                        chown(path, Some(NOBODY), Some(NOBODY)).unwrap();
                    }
                }
                let target = if name == ".profile.d" {
                    secrets.clone()
                } else {
                    secrets.join("secret")
                };
                let link = format!("ln -s {} /app/{name}", target.display());
                let script = if made_by == "the build" {
                    &*link
                } else {
                    "true"
                };
                let script =
                    format!("{script}; cat /app/{name} /app/{name}/*; ls /app/{name}/; echo end");
                let mut command = attack.command(&script, &[]);
                if made_by == "the app" {
                    symlink(&target, attack.site.path("app").join(name)).unwrap();
                }
                let ran = Ran::new(command.output().unwrap());
                let case = format!("{level:?}, {name} of {made_by}: {}", ran.stderr);
                assert!(!ran.stderr.contains("hunter2"), "{case}");
                // A link leads nowhere in a slug, or the app is told of it.
                let slug = attack.site.path("out/slug.tgz");
                assert_eq!(slug.exists(), ran.code == Some(0), "{case}");
                if slug.exists() {
                    let cat = attack
                        .site
                        .command("sh".as_ref())
                        .args(["-c", "zcat \"$0\"", slug.to_str().unwrap()])
                        .output()
                        .unwrap();
                    let bytes = String::from_utf8_lossy(&cat.stdout);
                    assert!(bytes.contains("bin/compile"), "{case}");
                    assert!(!bytes.contains("hunter2"), "{case}");
                }
                assert!(
                    secrets.join("secret").exists() && secrets.join("x.sh").exists(),
                    "{case}"
                );
            }
        }
    }
}

#[test]
fn ignore_rules_that_lead_outside() {
    for level in levels() {
        let attack = Attack::new(*level);
        let kept = attack.site.path("out/kept");
        fs::write(&kept, "").unwrap();
        let rules = format!(
            "../../*\n../../../../../..{0}\n{0}\n/../..\n..\n",
            kept.display()
        );
        let before = files_below(&attack.site.path("app")).len();
        let seen = attack
            .run(
                "ls -A /app /cache /env /buildpacks",
                &[(".slugignore", &rules), ("x", "")],
            )
            .success()
            .stderr;
        assert!(kept.exists() && seen.contains('x'), "{level:?}: {seen}");
        assert!(files_below(&attack.site.path("app")).len() > before);
        assert!(attack.binary().exists());
    }
}

#[test]
fn output_without_end() {
    for level in levels() {
        for script in [
            "yes 'a line of text' | head -c 60000000; echo; echo last words",
            "head -c 60000000 /dev/zero | tr '\\0' x; echo; echo last words",
        ] {
            let seen = Attack::new(*level).run(script, &[]).success().stderr;
            assert!(seen.len() < 50_000_000, "{level:?}: {} bytes", seen.len());
            assert!(seen.contains("not shown"), "{level:?}");
            assert!(seen.contains("last words"), "{level:?}");
        }
    }
}

#[test]
fn a_failing_build_cannot_take_the_cache_with_it() {
    for level in levels() {
        let attack = Attack::new(*level);
        let build = |script: &str| {
            let mut command = attack.command(script, &[]);
            command.arg("--cache").arg(attack.site.path("out/cache"));
            Ran::new(command.output().unwrap())
        };
        build("echo precious >$2/kept").success();
        build("rm -rf $2/* $2/.[!.]*; echo poison >$2/kept; exit 1").failure(1);
        let seen = build("cat $2/kept").success().stderr;
        assert!(
            seen.contains("precious") && !seen.contains("poison"),
            "{level:?}: {seen}"
        );
    }
}

/// A server of an attack's own user.
struct Server {
    child: Child,
    url: String,
    token: String,
    data: PathBuf,
}

impl Server {
    fn start(attack: &Attack) -> Self {
        let data = attack.site.path("out/data");
        let mut child = attack
            .slugline()
            .args(["serve", "--listen", "127.0.0.1:0"])
            .env("SLUGLINE_DATA", &data)
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let mut line = String::new();
        let mut stdout = BufReader::new(child.stdout.take().unwrap());
        stdout.read_line(&mut line).unwrap();
        let url = line
            .trim()
            .strip_prefix("Slugline listens on ")
            .unwrap()
            .to_owned();
        let token = fs::read_to_string(data.join("admin-token"))
            .unwrap()
            .trim()
            .to_owned();
        Self {
            child,
            url,
            token,
            data,
        }
    }

    fn api(&self, method: &str, path: &str, body: &Value) -> Value {
        let request = ureq::http::Request::builder()
            .method(method)
            .uri(format!("{}{path}", self.url))
            .header("Authorization", format!("Bearer {}", self.token))
            .header("Accept", "application/vnd.heroku+json; version=3")
            .body(if body.is_null() {
                String::new()
            } else {
                body.to_string()
            })
            .unwrap();
        let mut response = agent().run(request).unwrap();
        let text = response.body_mut().read_to_string().unwrap();
        assert!(response.status().is_success(), "{text}");
        serde_json::from_str(&text).unwrap()
    }

    fn push(&self, attack: &Attack, dir: &Path) -> Child {
        let header = format!("http.extraHeader=Authorization: Bearer {}", self.token);
        let mut git: Command = attack.site.command("git".as_ref());
        git.current_dir(dir)
            .args([
                "-c",
                &header,
                "push",
                "--quiet",
                &format!("{}/killed.git", self.url),
                "main",
            ])
            .stderr(Stdio::null())
            .spawn()
            .unwrap()
    }

    fn scratch(&self) -> Vec<String> {
        let entries = fs::read_dir(self.data.join("scratch")).unwrap().flatten();
        entries
            .map(|entry| entry.file_name().into_string().unwrap())
            .collect()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn a_killed_server_leaves_nothing_running_and_the_next_one_sweeps() {
    for level in levels() {
        let attack = Attack::new(*level);
        let name = format!("slugline-server-left-{level:?}");
        let repository = attack.site.repository("repository", "inline_shell");
        let script = format!(
            "#!/bin/bash\nrm -f /app/.profile\n(setsid bash -c 'trap \"\" TERM HUP; exec -a {name} sleep 77' &)\n\
             mkdir -p /app/closed/deep; chmod 000 /app/closed; sleep 77\n"
        );
        repository.write("bin/compile", &script);
        repository.commit("Stay");
        let mut server = Server::start(&attack);
        server.api("POST", "/apps", &json!({ "name": "killed" }));
        let updates = json!({ "updates": [{ "buildpack": "inline" }] });
        server.api("PUT", "/apps/killed/buildpack-installations", &updates);
        let mut push = server.push(&attack, &repository.dir);
        eventually("it runs", || running(&name) == 1);
        assert!(!server.scratch().is_empty());
        // env and setpriv have become the server.
        server.child.kill().unwrap();
        server.child.wait().unwrap();
        eventually("all of it is gone", || running(&name) == 0);
        push.wait().unwrap();
        let id = server.child.id();

        let server = Server::start(&attack);
        assert!(server.scratch().is_empty(), "{:?}", server.scratch());
        assert_eq!(groups_of(id), Vec::<PathBuf>::new());
        let builds = server.api("GET", "/apps/killed/builds", &Value::Null);
        assert_eq!(builds[0]["failure"]["id"], "server_stopped", "{builds}");
    }
}

/// Control groups that a process has made.
fn groups_of(id: u32) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut open = vec![(PathBuf::from("/sys/fs/cgroup"), 0)];
    while let Some((dir, depth)) = open.pop() {
        for entry in fs::read_dir(dir).into_iter().flatten().flatten() {
            let name = entry.file_name().into_string().unwrap();
            if name.starts_with(&format!("{id}.")) {
                found.push(entry.path());
            } else if depth < 6 && entry.file_type().unwrap().is_dir() {
                open.push((entry.path(), depth + 1));
            }
        }
    }
    found
}

/// The same for a builder that has no server, and for another user than the one that sweeps.
#[test]
fn a_killed_builder_leaves_nothing_running() {
    for level in levels() {
        let attack = Attack::new(*level);
        let name = format!("slugline-left-{level:?}");
        let script =
            format!("(setsid bash -c 'trap \"\" TERM; exec -a {name} sleep 77' &); wait; sleep 77");
        let mut builder = attack
            .command(&script, &[])
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        eventually("it runs", || running(&name) == 1);
        builder.kill().unwrap();
        builder.wait().unwrap();
        eventually("it is gone", || running(&name) == 0);
        // The next one sweeps what is left of its control groups.
        attack.run("true", &[]).success();
        let left = groups_of(builder.id());
        assert!(left.is_empty(), "{level:?}: {left:?}");
    }
}
