//! Histories at random, made by real git and pushed step by step to us and to `git http-backend`:
//! the same refs, the same objects, the same `git fsck`, the same exit code and class of message.

use std::collections::BTreeSet;
use std::fs;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::thread;

use crate::site::{Ran, Site};

/// A generator that gives the same on every machine.
struct Random(u64);

impl Random {
    fn below(&mut self, limit: usize) -> usize {
        // Xorshift64*, whose upper bits are good.
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        let bits = self.0.wrapping_mul(0x2545_F491_4F6C_DD1D) >> 33;
        usize::try_from(bits).unwrap() % limit
    }

    fn pick<'a>(&mut self, of: &'a [String]) -> &'a String {
        &of[self.below(of.len())]
    }
}

/// A server that hands each request to `git http-backend`, as CGI wants it.
fn http_backend(root: PathBuf) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    thread::spawn(move || {
        for connection in listener.incoming().flatten() {
            let root = root.clone();
            thread::spawn(move || answer(&connection, &root));
        }
    });
    url
}

fn answer(mut connection: &TcpStream, root: &Path) {
    let mut reader = BufReader::new(connection.try_clone().unwrap());
    let mut line = String::new();
    if reader.read_line(&mut line).unwrap_or(0) == 0 {
        return;
    }
    let mut words = line.split(' ');
    let (method, target) = (
        words.next().unwrap().to_owned(),
        words.next().unwrap().to_owned(),
    );
    let (path, query) = target.split_once('?').unwrap_or((&target, ""));
    let mut headers = Vec::new();
    loop {
        let mut header = String::new();
        reader.read_line(&mut header).unwrap();
        match header.trim().split_once(": ") {
            Some((name, value)) => headers.push((name.to_lowercase(), value.to_owned())),
            None => break,
        }
    }
    let of = |name: &str| {
        headers
            .iter()
            .find(|(key, _)| key == name)
            .map(|(_, value)| value.as_str())
    };
    let mut body = Vec::new();
    if of("transfer-encoding") == Some("chunked") {
        loop {
            let mut size = String::new();
            reader.read_line(&mut size).unwrap();
            let size = u64::from_str_radix(size.trim(), 16).unwrap();
            (&mut reader).take(size).read_to_end(&mut body).unwrap();
            reader.read_line(&mut String::new()).unwrap();
            if size == 0 {
                break;
            }
        }
    } else if let Some(length) = of("content-length") {
        let length = length.parse().unwrap();
        (&mut reader).take(length).read_to_end(&mut body).unwrap();
    }
    let mut child = Command::new("git")
        .arg("http-backend")
        .env_clear()
        .env("PATH", std::env::var_os("PATH").unwrap())
        .env("HOME", root)
        .env("GIT_CONFIG_NOSYSTEM", "1")
        .env("GIT_PROJECT_ROOT", root)
        .env("GIT_HTTP_EXPORT_ALL", "1")
        .env("REQUEST_METHOD", method)
        .env("PATH_INFO", path)
        .env("QUERY_STRING", query)
        .env("CONTENT_TYPE", of("content-type").unwrap_or_default())
        .env("CONTENT_LENGTH", body.len().to_string())
        .env(
            "HTTP_CONTENT_ENCODING",
            of("content-encoding").unwrap_or_default(),
        )
        .env("GIT_PROTOCOL", of("git-protocol").unwrap_or_default())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let mut stdin = child.stdin.take().unwrap();
    let feeder = thread::spawn(move || drop(stdin.write_all(&body)));
    let output = child.wait_with_output().unwrap().stdout;
    feeder.join().unwrap();
    let end = output
        .windows(4)
        .position(|part| part == b"\r\n\r\n")
        .unwrap();
    let head = String::from_utf8_lossy(&output[..end]);
    let status = head
        .lines()
        .find_map(|line| line.strip_prefix("Status: "))
        .unwrap_or("200 OK");
    let body = &output[end + 4..];
    let mut answer = format!(
        "HTTP/1.1 {status}\r\n{head}\r\nContent-Length: {}\r\nConnection: close\r\n\r\n",
        body.len()
    )
    .into_bytes();
    answer.extend_from_slice(body);
    let _ = connection.write_all(&answer);
}

/// What kind of answer the pusher has read, for each ref.
fn class(ran: &Ran) -> (Option<i32>, BTreeSet<(String, String)>) {
    let mut lines = BTreeSet::new();
    for line in ran.stdout.lines() {
        // `<flag>\t<from>:<to>\t<summary> (<reason>)`, git push --porcelain.
        let parts = line.split('\t').collect::<Vec<_>>();
        if let [flag, refs, summary] = parts[..] {
            let class = match (flag, summary) {
                ("!", text) if text.contains("[remote rejected]") => {
                    let stale = ["moved", "exists", "lock", "stale"];
                    let known = stale.iter().any(|word| text.contains(word));
                    if known { "! remote: stale" } else { "! remote" }
                }
                ("!", text) if text.contains("[rejected]") => "! client",
                ("!", _) => "! other",
                (flag, _) => flag,
            };
            lines.insert((refs.to_owned(), class.to_owned()));
        }
    }
    (ran.code, lines)
}

struct Pair<'a> {
    site: &'a Site,
    work: PathBuf,
    urls: [String; 2],
    bares: [PathBuf; 2],
}

impl Pair<'_> {
    fn git(&self, arguments: &[&str]) -> Ran {
        self.site.git_in(&self.work, arguments)
    }

    fn branches(&self) -> Vec<String> {
        let listed = self.git(&["for-each-ref", "--format=%(refname:short)", "refs/heads"]);
        listed.success().stdout.lines().map(str::to_owned).collect()
    }

    /// Changes files, and commits, merges, tags or makes branches.
    fn change(&self, random: &mut Random, step: usize) {
        for _ in 0..=random.below(3) {
            let name = format!("dir-{}/file-{}", random.below(4), random.below(6));
            let path = self.work.join(&name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            match random.below(8) {
                0 => drop(fs::remove_file(&path)),
                1 => {
                    let _ = fs::remove_file(&path);
                    std::os::unix::fs::symlink(format!("../file-{step}"), &path).unwrap();
                }
                n => {
                    let _ = fs::remove_file(&path);
                    let lines = (0..random.below(200) * n)
                        .map(|line| format!("{} {line}\n", random.below(50)));
                    fs::write(&path, lines.collect::<String>()).unwrap();
                }
            }
        }
        self.git(&["add", "--all"]).success();
        self.git(&[
            "commit",
            "--quiet",
            "--allow-empty",
            "-m",
            &format!("Step {step}"),
        ])
        .success();
        let branches = self.branches();
        match random.below(8) {
            0 => drop(self.git(&["branch", &format!("b{step}")])),
            1 => drop(self.git(&["tag", "-a", "-m", "t", &format!("t{step}")])),
            2 => drop(self.git(&["tag", &format!("l{step}")])),
            3 => drop(self.git(&["checkout", "--quiet", random.pick(&branches).as_str()])),
            4 => {
                let other = random.pick(&branches);
                let merged = self.git(&["merge", "--quiet", "-X", "ours", "-m", "m", other]);
                if merged.code != Some(0) {
                    self.git(&["reset", "--quiet", "--hard"]).success();
                }
            }
            5 => drop(self.git(&["reset", "--quiet", "--hard", "HEAD~1"])),
            6 => drop(self.git(&["branch", &format!("deep/b{step}/x")])),
            _ => {}
        }
    }

    /// A push of some kind, the same to both.
    fn refspecs(&self, random: &mut Random) -> Vec<String> {
        let branches = self.branches();
        let mut arguments = Vec::new();
        if random.below(3) == 0 {
            arguments.push("--atomic".to_owned());
        }
        if random.below(3) == 0 {
            arguments.push("--force".to_owned());
        }
        arguments.push("URL".to_owned());
        // Two commands for one ref are refused by us altogether; and where one ref makes place for
        // another in one push, it depends on the order for git alone.
        let mut names = Vec::<String>::new();
        for _ in 0..=random.below(3) {
            let branch = random.pick(&branches);
            let refspec = match random.below(9) {
                0 => format!(":refs/heads/{branch}"),
                1 => format!("{branch}:refs/heads/{branch}/below"),
                2 => format!("{branch}:refs/heads/other"),
                3 => "refs/tags/*:refs/tags/*".to_owned(),
                4 => format!("{branch}^{{tree}}:refs/tags/tree"),
                5 => format!("{branch}^{{tree}}:refs/heads/tree"),
                6 => format!("+{branch}~1:refs/heads/{branch}"),
                _ => format!("{branch}:refs/heads/{branch}"),
            };
            let name = refspec.rsplit(':').next().unwrap().to_owned() + "/";
            let clashes = |other: &String| other.starts_with(&name) || name.starts_with(other);
            if !names.iter().any(clashes) {
                names.push(name);
                arguments.push(refspec);
            }
        }
        arguments
    }

    fn push(&self, arguments: &[String], step: usize) {
        let sides = [0, 1].map(|side| {
            let arguments = arguments.iter().map(|argument| {
                if argument == "URL" {
                    &self.urls[side]
                } else {
                    argument
                }
            });
            let arguments = ["push", "--porcelain"]
                .into_iter()
                .chain(arguments.map(String::as_str));
            self.git(&arguments.collect::<Vec<_>>())
        });
        let context = || {
            format!(
                "step {step}: {arguments:?}\nours: {:?}\ngit's: {:?}",
                sides[0], sides[1]
            )
        };
        assert_eq!(class(&sides[0]), class(&sides[1]), "{}", context());
        let [ours, theirs] = [0, 1].map(|side| {
            let refs = self
                .site
                .git_in(&self.bares[side], &["for-each-ref"])
                .success()
                .stdout;
            let reach = ["rev-list", "--objects", "--all", "--no-object-names"];
            let objects = self.site.git_in(&self.bares[side], &reach).success().stdout;
            let objects = objects.lines().map(str::to_owned).collect::<BTreeSet<_>>();
            let fsck = self
                .site
                .git_in(&self.bares[side], &["fsck", "--strict", "--no-dangling"]);
            (refs, objects, fsck.code, fsck.stdout)
        });
        assert_eq!(ours, theirs, "{}", context());
    }
}

/// The histories start with another branch than the deployed ones: those have rules of their own.
fn history(seed: u64, steps: usize) {
    let site = Site::new();
    site.slugline(&["apps", "create", "hello"]).success();
    let peers = site.path("peers");
    fs::create_dir(&peers).unwrap();
    let url = http_backend(peers.clone());
    let root = site.path("");
    let theirs = peers.join("hello.git");
    let init = ["init", "--quiet", "--bare", theirs.to_str().unwrap()];
    site.git_in(&root, &init).success();
    for (key, value) in [
        ("http.receivepack", "true"),
        ("receive.fsckObjects", "true"),
        ("receive.advertisePushOptions", "true"),
    ] {
        site.git_in(&theirs, &["config", key, value]).success();
    }
    let work = site.path("work");
    fs::create_dir(&work).unwrap();
    let pair = Pair {
        bares: [site.bare("hello"), theirs],
        urls: [
            format!("{}/hello.git", site.url()),
            format!("{url}/hello.git"),
        ],
        site: &site,
        work,
    };
    pair.git(&["init", "--quiet", "--initial-branch=first"])
        .success();
    let mut random = Random(seed);
    for step in 0..steps {
        pair.change(&mut random, step);
        let arguments = pair.refspecs(&mut random);
        pair.push(&arguments, step);
    }
}

#[test]
fn random_histories_end_as_with_git_http_backend() {
    thread::scope(|scope| {
        for seed in [11, 222, 3333, 44444] {
            scope.spawn(move || history(seed, 25));
        }
    });
}
