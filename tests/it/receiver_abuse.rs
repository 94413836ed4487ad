//! Pushes that no git makes: each gets its answer, costs little and leaves nothing.

use std::fs;
use std::io::{Read, Write};

use crate::site::{Site, files_below};
use crate::wire::{
    Answer, Pack, ZERO, authorization, commands, connect, copying_delta, create, exchange, gzip,
    id_of, pkt, post, raw_id, request,
};

const ONE: &str = "1111111111111111111111111111111111111111";

fn site() -> Site {
    let site = Site::new();
    site.slugline(&["apps", "create", "hello"]).success();
    site
}

/// Nothing of what was refused is in the repository, and the server still answers.
#[track_caller]
fn assert_untouched(site: &Site) {
    let bare = site.bare("hello");
    let objects = files_below(&bare.join("objects"));
    assert_eq!(objects, Vec::<String>::new());
    assert_eq!(files_below(&bare.join("refs")), Vec::<String>::new());
    assert!(!bare.join("packed-refs").exists());
}

/// The answer is git's report, with this in it.
#[track_caller]
fn assert_reported(answer: &Answer, what: &str) {
    assert_eq!(answer.status, 200, "{answer:?}");
    assert!(answer.text().contains(what), "{what}: {}", answer.text());
}

#[test]
fn what_is_not_in_packet_lines_is_no_push() {
    let site = site();
    for junk in [
        &b"0001"[..],
        b"0002",
        b"0003",
        b"0004",
        b"0005x",
        b"fff1",
        b"ffff",
        b"-001",
        b"00 4",
        b"zzzz not a packet",
        b"0000PACK",
    ] {
        let answer = post(&site, junk);
        assert!((400..500).contains(&answer.status), "{junk:?}: {answer:?}");
        let text = answer.text();
        assert!(
            text.contains("This is not git's push protocol.") || text.contains("ended before"),
            "{text}"
        );
    }
    // After the capabilities the answer is a report.
    let first = pkt(format!(
        "{ZERO} {ONE} refs/heads/a\0{}",
        crate::wire::CAPABILITIES
    ));
    for junk in ["0001", "0002", "0003", "0004", "fff1", "0005x", "002dx"] {
        let answer = post(&site, &[&first, junk.as_bytes()].concat());
        assert_reported(&answer, "ng refs/heads/a push refused");
        assert!(answer.text().contains("unpack "), "{}", answer.text());
    }
    // No flush.
    assert_reported(
        &post(&site, &first),
        "unpack The push ended before it was complete.",
    );
    assert_untouched(&site);
}

#[test]
fn names_of_refs_are_those_that_git_allows() {
    let site = site();
    for name in [
        "refs/heads/..",
        "refs/heads/a..b",
        "refs/heads/@{0}",
        "refs/heads/a@{b",
        "refs/heads/a b",
        "refs/heads/a\u{1}",
        "refs/heads/a\u{7f}",
        "refs/heads/a\0b",
        "refs/heads/a.lock",
        "refs/heads/.a",
        "refs/heads/a/",
        "refs/heads//a",
        "refs/heads/a~1",
        "refs/heads/a^",
        "refs/heads/a:b",
        "refs/heads/a?",
        "refs/heads/a*",
        "refs/heads/a[",
        "refs/heads/a\\b",
        "refs/../../config",
        "../config",
        "/etc/passwd",
        "HEAD",
        "config",
        &format!("refs/heads/{}", "x".repeat(60_000)),
        &format!("refs/heads/{}", "x/".repeat(600)),
    ] {
        let lines = [
            format!("{ZERO} {ONE} refs/tags/t"),
            format!("{ZERO} {ONE} {name}"),
        ];
        let answer = post(&site, &commands(&lines));
        assert_reported(&answer, "is no name for a ref");
        assert_reported(&answer, "ng refs/tags/t push refused");
    }
    // Names that a ref may have, where a push may not go.
    for (name, reason) in [
        ("refs/notes/commits", "only branches and tags can be pushed"),
        ("refs/remotes/a/b", "only branches and tags can be pushed"),
        ("refs/heads/HEAD", "a branch cannot be called HEAD"),
        ("refs/heads/-a", "cannot start with a dash"),
        ("refs/tags/--upload-pack=x", "cannot start with a dash"),
    ] {
        assert_reported(&post(&site, &create(ONE, name)), reason);
    }
    assert_untouched(&site);
}

#[test]
fn a_ref_is_named_once() {
    let site = site();
    let line = format!("{ZERO} {ONE} refs/heads/a");
    let answer = post(&site, &commands(&[line.clone(), line]));
    assert_reported(&answer, "is named by two commands");
    let many = (0..1001).map(|n| format!("{ZERO} {ONE} refs/heads/b{n}"));
    let answer = post(&site, &commands(&many.collect::<Vec<_>>()));
    assert_reported(&answer, "ore than 1000 commands in one push");
    let mut shallow = pkt(format!("shallow {ONE}\n")).repeat(10_001);
    shallow.extend(create(ONE, "refs/heads/a"));
    assert_eq!(post(&site, &shallow).status, 422);
    assert_untouched(&site);
}

#[test]
fn packs_that_cannot_be_unpacked_are_refused() {
    let site = site();
    let blob = id_of("blob", b"x");
    let delta = copying_delta(1, 1);
    let nowhere = Pack::new().delta_of_id(ONE, &delta).sealed();
    let itself = Pack::new().delta_of_id(&blob, &delta).sealed();
    let mut circle = Pack::new();
    circle
        .delta_of_id(ONE, &delta)
        .delta_of_id(&"2".repeat(40), &delta);
    let mut far = Pack::new();
    far.object(3, b"x");
    far.delta_of_offset(0, &delta);
    let mut longer = Pack::new();
    longer.object_of_size(3, 100, b"x");
    let mut shorter = Pack::new();
    shorter.object_of_size(3, 1, &[0; 100]);
    let lie = {
        let mut pack = Pack::new();
        pack.object(3, b"x");
        let base = 12;
        pack.delta_of_offset(base, &copying_delta(500, 500));
        pack.sealed()
    };
    let good = Pack::new().object(3, b"x").sealed();
    let mut junk = good.clone();
    junk.extend_from_slice(b"junk");
    let mut checksum = good.clone();
    *checksum.last_mut().unwrap() ^= 1;
    let mut count = good.clone();
    count[8..12].copy_from_slice(&u32::MAX.to_be_bytes());
    for (what, pack) in [
        ("a base that is nowhere", nowhere),
        ("its own base", itself),
        ("a circle", circle.sealed()),
        ("a base outside of the pack", far.sealed()),
        ("too few bytes", longer.sealed()),
        ("too many bytes", shorter.sealed()),
        ("a delta for another base", lie),
        ("junk at the end", junk),
        ("a wrong checksum", checksum),
        ("4 billion objects", count),
        ("a cut pack", good[..good.len() - 1].to_vec()),
        ("no pack", Vec::new()),
        (
            "another version",
            [&b"PACK\0\0\0\x09"[..], &good[8..]].concat(),
        ),
    ] {
        let answer = post(&site, &[create(&blob, "refs/tags/t"), pack].concat());
        assert_reported(&answer, "ng refs/tags/t unpacker error");
        assert!(
            !answer.text().contains("unpack ok"),
            "{what}: {}",
            answer.text()
        );
        assert_untouched(&site);
    }
    // Well formed, but not what the command names: an object's id is made of its content.
    let answer = post(
        &site,
        &[create(&id_of("blob", b"y"), "refs/tags/t"), good.clone()].concat(),
    );
    assert_reported(&answer, "is missing");
    assert_untouched(&site);
    let answer = post(&site, &[create(&blob, "refs/tags/t"), good].concat());
    assert_reported(&answer, "ok refs/tags/t");
}

#[test]
fn trees_have_their_form() {
    let site = site();
    let blob = raw_id(&id_of("blob", b"x"));
    let line = |mode: &str, name: &str| [format!("{mode} {name}\0").as_bytes(), &blob].concat();
    for (what, tree) in [
        (
            "unsorted",
            [line("100644", "b"), line("100644", "a")].concat(),
        ),
        ("twice", [line("100644", "a"), line("100644", "a")].concat()),
        (
            "twice apart",
            [
                line("100644", "a"),
                line("100644", "a.b"),
                line("40000", "a"),
            ]
            .concat(),
        ),
        (".git", line("40000", ".git")),
        ("a way up", line("40000", "..")),
        ("a path", line("100644", "a/b")),
        ("cut", line("100644", "a")[..20].to_vec()),
    ] {
        let tree_id = id_of("tree", &tree);
        let who = "A <a@b> 1 +0000";
        let commit = format!("tree {tree_id}\nauthor {who}\ncommitter {who}\n\nx\n");
        let mut pack = Pack::new();
        pack.object(3, b"x")
            .object(2, &tree)
            .object(1, commit.as_bytes());
        let id = id_of("commit", commit.as_bytes());
        let answer = post(
            &site,
            &[create(&id, "refs/heads/topic"), pack.sealed()].concat(),
        );
        assert_reported(&answer, "unpack The pushed objects are not in order.");
        assert!(
            answer.text().contains("malformed"),
            "{what}: {}",
            answer.text()
        );
        assert_untouched(&site);
    }
}

/// The most memory that the server ever had, in MiB.
fn peak_mib(site: &Site) -> u64 {
    let status = fs::read_to_string(format!("/proc/{}/status", site.server_id())).unwrap();
    let line = status
        .lines()
        .find(|line| line.starts_with("VmHWM:"))
        .unwrap();
    line.split_whitespace()
        .nth(1)
        .unwrap()
        .parse::<u64>()
        .unwrap()
        / 1024
}

#[test]
fn bombs_do_not_take_the_memory() {
    let site = site();
    let before = peak_mib(&site);
    // 1 GiB in one object, said and not said.
    let zeros = vec![0; 1 << 30];
    let said = Pack::new().object(3, &zeros).sealed();
    let unsaid = Pack::new().object_of_size(3, 10, &zeros).sealed();
    drop(zeros);
    // 200 MB, under the limit, and deltas on it: side by side, and one on another.
    let large = 200_000_000;
    let base = vec![0; large];
    let (mut star, mut chain, mut over) = (Pack::new(), Pack::new(), Pack::new());
    for pack in [&mut star, &mut chain, &mut over] {
        pack.object(3, &base);
    }
    drop(base);
    let size = large as u64;
    let mut last = 12;
    for n in 0..20 {
        star.delta_of_offset(12, &copying_delta(size, size - 1 - n));
        let next = chain.offset();
        chain.delta_of_offset(last, &copying_delta(size - n, size - n - 1));
        last = next;
    }
    over.delta_of_offset(12, &copying_delta(size, 3 << 30));
    let named = create(&id_of("blob", b"x"), "refs/tags/t");
    for (what, pack) in [
        ("said", said),
        ("unsaid", unsaid),
        ("over", over.sealed()),
        ("star", star.sealed()),
        ("chain", chain.sealed()),
    ] {
        let sent = pack.len();
        let answer = post(&site, &[named.clone(), pack].concat());
        assert_reported(&answer, "ng refs/tags/t unpacker error");
        let peak = peak_mib(&site);
        eprintln!("{what}: {sent} bytes sent, {before} MiB before, {peak} MiB at the peak");
        // Two threads, each with a base and what is made of it, and what the others keep for them.
        assert!(peak < 1024, "{what}: {peak} MiB");
        assert_untouched(&site);
    }
}

#[test]
fn packed_bodies_are_unpacked_and_no_further_than_wanted() {
    let site = site();
    let blob = id_of("blob", b"x");
    let pack = Pack::new().object(3, b"x").sealed();
    let send = |encoding: &str, body: &[u8]| {
        let headers = format!(
            "Content-Encoding: {encoding}\r\nContent-Length: {}\r\n",
            body.len()
        );
        request(
            &site,
            "POST /hello.git/git-receive-pack HTTP/1.1",
            &headers,
            body,
        )
    };
    let before = peak_mib(&site);
    let push = [create(&blob, "refs/tags/t"), pack].concat();
    assert_eq!(send("br", &push).status, 415);
    // A bomb after the end of the pack, and one instead of the commands.
    let zeros = vec![0; 1 << 30];
    let bomb = gzip(&[&push, &zeros[..]].concat());
    assert_reported(&send("gzip", &bomb), "junk at the end");
    assert_eq!(send("gzip", &gzip(&zeros)).status, 400);
    drop(zeros);
    assert_eq!(send("gzip", b"no gzip").status, 422);
    assert_reported(
        &send("gzip", &gzip(&push)[..gzip(&push).len() - 12]),
        "ended before it was complete",
    );
    assert_untouched(&site);
    let headers = format!(
        "Content-Encoding: gzip\r\nContent-Length: {}\r\n",
        bomb.len()
    );
    let fetch = request(
        &site,
        "POST /hello.git/git-upload-pack HTTP/1.1",
        &headers,
        &bomb,
    );
    assert!(fetch.body.len() < 1000, "{fetch:?}");
    assert!(peak_mib(&site) < before + 100, "{}", peak_mib(&site));
    assert_reported(&send("gzip", &gzip(&push)), "ok refs/tags/t");
}

#[test]
fn names_of_apps_lead_to_apps_only() {
    let site = site();
    fs::write(site.data().join("secret"), "s").unwrap();
    for path in [
        "/../hello.git",
        "/%2e%2e/hello.git",
        "/..%2f..%2fhello.git",
        "/repositories/hello.git",
        "/hello.git.git",
        "/HELLO.git",
        "/Hello.git",
        "/hello%00.git",
        "/hello%2f.git",
        "/.git",
        "/..git",
        "/-hello.git",
        "/hello.git/../hello.git",
        "/hello.git/objects",
        "/hello.git/HEAD?",
        "/hello.git//info/refs?service=git-upload-pack&x=",
        "//hello.git",
        &format!("/{}.git", "x".repeat(10_000)),
    ] {
        for service in ["git-upload-pack", "git-receive-pack"] {
            let line = format!("GET {path}/info/refs?service={service} HTTP/1.1");
            let answer = request(&site, &line, "", b"");
            if path == "//hello.git" {
                assert_eq!(answer.status, 200, "{line}");
            } else {
                assert!((400..500).contains(&answer.status), "{line}: {answer:?}");
            }
        }
    }
    // Whoever has no token learns nothing of names.
    let answers = ["hello", "unknown", "HELLO", ".."].map(|name| {
        let head = format!("GET /{name}.git/info/refs?service=git-upload-pack HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
        let answer = String::from_utf8(exchange(&site, head.as_bytes())).unwrap();
        let lines = answer.lines().filter(|line| !line.to_lowercase().starts_with("date:"));
        lines.collect::<Vec<_>>().join("\n")
    });
    assert!(answers[0].starts_with("HTTP/1.1 401"), "{}", answers[0]);
    assert!(
        answers.iter().all(|answer| *answer == answers[0]),
        "{answers:#?}"
    );
}

#[test]
fn one_request_does_not_hide_in_another() {
    let site = site();
    let token = authorization(&site);
    let hidden = format!(
        "GET /hello.git/info/refs?service=git-receive-pack HTTP/1.1\r\nHost: x\r\n{token}\r\n"
    );
    let line = "POST /hello.git/git-receive-pack HTTP/1.1\r\nHost: x\r\n";
    let answers = |text: &str| text.matches("HTTP/1.1 ").count();
    // Both lengths: the chunks count, and nothing after them is looked at.
    for both in [
        format!(
            "{line}{token}Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n{hidden}"
        ),
        format!(
            "{line}{token}Transfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n0\r\n\r\n{hidden}"
        ),
    ] {
        let answer = String::from_utf8(exchange(&site, both.as_bytes())).unwrap();
        assert_eq!(answers(&answer), 1, "{answer}");
        assert!(!answer.contains("capabilities^{}"), "{answer}");
    }
    for (what, lengths) in [
        ("two lengths", "Content-Length: 4\r\nContent-Length: 5\r\n"),
        ("a list of lengths", "Content-Length: 4, 5\r\n"),
        ("a sign", "Content-Length: +4\r\n"),
        ("below zero", "Content-Length: -4\r\n"),
        ("no number", "Content-Length: 0x4\r\n"),
        ("another coding", "Transfer-Encoding: gzip\r\n"),
        (
            "chunked and more",
            "Transfer-Encoding: chunked, identity\r\n",
        ),
        ("a blank before the colon", "Content-Length : 4\r\n"),
    ] {
        let request = format!("{line}{token}{lengths}\r\n0000{hidden}");
        let answer = String::from_utf8(exchange(&site, request.as_bytes())).unwrap();
        assert!(answer.starts_with("HTTP/1.1 400"), "{what}: {answer}");
        assert_eq!(answers(&answer), 1, "{what}: {answer}");
    }
    for (what, chunks) in [
        ("no size", "\r\n0000\r\n0\r\n\r\n"),
        ("a sign", "+4\r\n0000\r\n0\r\n\r\n"),
        ("too long a size", "fffffffffffffffff\r\n0000\r\n0\r\n\r\n"),
        ("a longer chunk", "4\r\n0000xx\r\n0\r\n\r\n"),
    ] {
        let request = format!("{line}{token}Transfer-Encoding: chunked\r\n\r\n{chunks}{hidden}");
        let answer = String::from_utf8(exchange(&site, request.as_bytes())).unwrap();
        assert!(answers(&answer) <= 1, "{what}: {answer}");
        assert!(!answer.contains("capabilities^{}"), "{what}: {answer}");
    }
    let long = format!(
        "GET /hello.git/info/refs HTTP/1.1\r\nX: {}\r\n\r\n",
        "x".repeat(200_000)
    );
    let answer = String::from_utf8(exchange(&site, long.as_bytes())).unwrap();
    assert!(answer.starts_with("HTTP/1.1 431"), "{answer}");
    assert_untouched(&site);
}

#[test]
fn every_form_of_a_body_is_taken() {
    let site = site();
    let blob = id_of("blob", b"x");
    let pack = Pack::new().object(3, b"x").sealed();
    let push = |name: &str| [create(&blob, &format!("refs/tags/{name}")), pack.clone()].concat();
    let token = authorization(&site);
    let path = "/hello.git/git-receive-pack";
    // The probe, then the push in chunks on the same connection.
    let mut connection = connect(&site);
    write!(
        connection,
        "POST {path} HTTP/1.1\r\nHost: x\r\n{token}Content-Length: 4\r\n\r\n0000"
    )
    .unwrap();
    let mut answer = vec![0; 4096];
    let n = connection.read(&mut answer).unwrap();
    let probe = String::from_utf8_lossy(&answer[..n]).to_lowercase();
    assert!(
        probe.starts_with("http/1.1 200") && probe.contains("content-length: 0"),
        "{probe}"
    );
    assert!(
        probe.contains("application/x-git-receive-pack-result"),
        "{probe}"
    );
    write!(connection, "POST {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n{token}Transfer-Encoding: chunked\r\n\r\n").unwrap();
    for part in push("chunked").chunks(7) {
        write!(connection, "{:x}\r\n", part.len()).unwrap();
        connection.write_all(part).unwrap();
        connection.write_all(b"\r\n").unwrap();
    }
    connection.write_all(b"0\r\n\r\n").unwrap();
    let mut answer = String::new();
    connection.read_to_string(&mut answer).unwrap();
    assert!(answer.contains("ok refs/tags/chunked"), "{answer}");

    let body = push("old");
    let request = format!(
        "POST {path} HTTP/1.0\r\n{token}Content-Length: {}\r\n\r\n",
        body.len()
    );
    let answer = exchange(&site, &[request.as_bytes(), &body].concat());
    let answer = String::from_utf8_lossy(&answer).into_owned();
    assert!(answer.starts_with("HTTP/1.0 200"), "{answer}");
    assert!(
        answer.contains("ok refs/tags/old") && !answer.contains("chunked"),
        "{answer}"
    );

    let body = push("expected");
    let mut connection = connect(&site);
    let head = |token: &str| {
        format!(
            "POST {path} HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\n{token}Content-Length: {}\r\n\r\n",
            body.len()
        )
    };
    connection.write_all(head("").as_bytes()).unwrap();
    let mut answer = vec![0; 4096];
    let n = connection.read(&mut answer).unwrap();
    let heard = String::from_utf8_lossy(&answer[..n]).into_owned();
    assert!(
        heard.starts_with("HTTP/1.1 100") || heard.starts_with("HTTP/1.1 401"),
        "{heard}"
    );
    let mut connection = connect(&site);
    connection.write_all(head(&token).as_bytes()).unwrap();
    let n = connection.read(&mut answer).unwrap();
    assert_eq!(&answer[..n], b"HTTP/1.1 100 Continue\r\n\r\n");
    connection.write_all(&body).unwrap();
    let mut heard = String::new();
    while !heard.contains("ok refs/tags/expected") {
        let n = connection.read(&mut answer).unwrap();
        assert!(n > 0, "{heard}");
        heard.push_str(&String::from_utf8_lossy(&answer[..n]));
    }
}

#[test]
fn a_protocol_is_one_of_three() {
    let site = site();
    for (value, version) in [
        ("version=2", "version 2"),
        ("version=1", "version 1"),
        ("version=0", "capabilities^{}"),
        ("version=3", "capabilities^{}"),
        ("version=2:x=$(id)", "capabilities^{}"),
        ("GIT_TRACE=1", "capabilities^{}"),
        ("version=2\tversion=1", "capabilities^{}"),
    ] {
        let line = "GET /hello.git/info/refs?service=git-upload-pack HTTP/1.1";
        let answer = request(&site, line, &format!("Git-Protocol: {value}\r\n"), b"");
        assert_eq!(answer.status, 200, "{value}");
        assert!(
            answer.text().contains(version),
            "{value}: {}",
            answer.text()
        );
    }
    assert!(!answer_of(&site, "Git-Dir: /\r\nGit-Config: x\r\n").contains("fatal"));
}

fn answer_of(site: &Site, headers: &str) -> String {
    let line = "GET /hello.git/info/refs?service=git-upload-pack HTTP/1.1";
    request(site, line, headers, b"").head
}
