//! `slugline slug …`: every command on slugs that builds, packs and a server have made.

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use serde_json::Value;
use slugline::digest::Digest;

use crate::site::{Site, agent, copy_dir, fixture};

/// A directory of some files, packed as `one.tgz`; with a change, as `two.tgz`.
fn packed(site: &Site) -> PathBuf {
    let dir = site.path("tree");
    fs::create_dir_all(dir.join("lib")).unwrap();
    for n in 0..60_u32 {
        // Not compressible, so that there are some members.
        let bytes = (0..1600)
            .flat_map(|k| *Digest::of(&[n.to_le_bytes(), u32::to_le_bytes(k)].concat()).as_bytes());
        fs::write(dir.join(format!("lib/{n}")), bytes.collect::<Vec<_>>()).unwrap();
    }
    fs::write(dir.join("Procfile"), "web: ./server\n").unwrap();
    std::os::unix::fs::symlink("lib/1", dir.join("link")).unwrap();
    site.slugline(&["slug", "pack", "tree", "-o", "one.tgz"])
        .success();
    fs::write(dir.join("lib/30"), "shrunk").unwrap();
    fs::write(dir.join("new"), "added").unwrap();
    fs::remove_file(dir.join("lib/59")).unwrap();
    site.slugline(&["slug", "pack", "tree", "-o", "two.tgz", "--last", "one.tgz"])
        .success();
    dir
}

#[test]
fn a_slug_is_looked_into() {
    let site = Site::without_server();
    packed(&site);
    let slug = |arguments: &[&str]| {
        let arguments = [&["slug"], arguments].concat();
        site.slugline(&arguments).success().stdout
    };
    let inspected: Value = serde_json::from_str(&slug(&["inspect", "--json", "one.tgz"])).unwrap();
    let bytes = fs::read(site.path("one.tgz")).unwrap();
    assert_eq!(inspected["digest"], Digest::of(&bytes).to_string());
    // What is told from the bytes is what the packer wrote beside them.
    let manifest = fs::read_to_string(site.path("one.tgz.manifest.json")).unwrap();
    assert_eq!(slug(&["inspect", "--json", "one.tgz"]), manifest);
    assert!(slug(&["inspect", "one.tgz"]).contains("link         - link -> lib/1"));
    assert_eq!(slug(&["ls", "one.tgz", "lib/7"]).lines().count(), 1);
    assert_eq!(slug(&["ls", "one.tgz", "lib"]).lines().count(), 61);
    assert_eq!(slug(&["cat", "one.tgz", "Procfile"]), "web: ./server\n");
    let diff = slug(&["diff", "one.tgz", "two.tgz"]);
    let signs = diff.lines().map(|line| {
        let mut words = line.split(' ');
        format!("{} {}", words.next().unwrap(), words.next().unwrap())
    });
    assert_eq!(signs.collect::<Vec<_>>(), ["~ lib/30", "- lib/59", "+ new"]);
    for arguments in [
        ["cat", "one.tgz", "none"],
        ["cat", "one.tgz", "lib"],
        ["ls", "one.tgz", "none"],
    ] {
        let ran = site
            .slugline(&[&["slug"][..], &arguments].concat())
            .failure(2);
        let said = ran.stderr.to_lowercase();
        assert!(said.contains(arguments[2]), "{said}");
    }
}

#[test]
fn a_slug_comes_back_whole_and_by_way_of_a_delta() {
    let site = Site::without_server();
    packed(&site);
    site.slugline(&["slug", "extract", "two.tgz", "out"])
        .success();
    let same = Command::new("diff")
        .args(["-r", "--no-dereference"])
        .args([site.path("tree"), site.path("out")])
        .status();
    assert!(same.unwrap().success());
    // From scratch and with a slug at hand the bytes are the same.
    site.slugline(&[
        "slug",
        "pack",
        "tree",
        "-o",
        "scratch.tgz",
        "--threads",
        "1",
    ])
    .success();
    let bytes = |name: &str| fs::read(site.path(name)).unwrap();
    assert!(bytes("scratch.tgz") == bytes("two.tgz"));
    site.slugline(&["slug", "pack", "tree", "-o", "fast.tgz", "--fast"])
        .success();
    assert!(bytes("fast.tgz") != bytes("two.tgz"));

    site.slugline(&["slug", "delta", "one.tgz", "two.tgz", "-o", "delta"])
        .success();
    assert!(bytes("delta").len() < bytes("two.tgz").len());
    site.slugline(&["slug", "patch", "one.tgz", "delta", "-o", "patched.tgz"])
        .success();
    assert!(bytes("patched.tgz") == bytes("two.tgz"));
    site.slugline(&["slug", "extract", "delta", "again", "--base", "one.tgz"])
        .success();
    let same = Command::new("diff")
        .args(["-r", "--no-dereference"])
        .args([site.path("out"), site.path("again")])
        .status();
    assert!(same.unwrap().success());
    // Over another slug than its own a delta says so, and a full directory is not written to.
    let ran = site
        .slugline(&["slug", "patch", "two.tgz", "delta", "-o", "x.tgz"])
        .failure(2);
    assert!(ran.stderr.contains("delta"), "{}", ran.stderr);
    let ran = site
        .slugline(&["slug", "extract", "one.tgz", "out"])
        .failure(2);
    assert!(ran.stderr.contains("no empty directory"), "{}", ran.stderr);
}

#[test]
fn what_is_not_as_its_manifest_says_is_named() {
    let site = Site::without_server();
    packed(&site);
    let ran = site.slugline(&["slug", "verify", "one.tgz"]).success();
    assert!(ran.stdout.contains("63 entries verified"), "{}", ran.stdout);
    let ran = site
        .slugline(&[
            "slug",
            "verify",
            "two.tgz",
            "--manifest",
            "one.tgz.manifest.json",
        ])
        .failure(2);
    assert!(ran.stderr.contains("lib/30"), "{}", ran.stderr);
    let mut bytes = fs::read(site.path("one.tgz")).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    fs::write(site.path("one.tgz"), bytes).unwrap();
    site.slugline(&["slug", "verify", "one.tgz"]).failure(2);
}

#[test]
fn tricks_of_foreign_archives_are_refused() {
    let site = Site::without_server();
    let script = "
import io, sys, tarfile
def make(name, *members):
    with tarfile.open(name, 'w:gz') as tar:
        for member, content in members:
            tar.addfile(member, io.BytesIO(content))
def info(name, content=b'', **fields):
    member = tarfile.TarInfo(name)
    member.size = len(content)
    for field, value in fields.items(): setattr(member, field, value)
    return member, content
make('up.tgz', info('./app/../../evil', b'x'))
make('absolute.tgz', info('/evil', b'x'))
make('through.tgz', info('./app/l', type=tarfile.SYMTYPE, linkname='..'), info('./app/l/evil', b'x'))
make('device.tgz', info('./app/null', type=tarfile.CHRTYPE, devmajor=1, devminor=3))
make('link.tgz', info('./app/passwd', type=tarfile.LNKTYPE, linkname='/etc/passwd'))
make('twice.tgz', info('./app/x', b'1'), info('./app/x', b'2'))
";
    let mut python = site.command("python3".as_ref());
    let made = python
        .current_dir(site.path(""))
        .args(["-c", script])
        .status();
    assert!(made.unwrap().success());
    for name in ["up", "absolute", "through", "device", "link", "twice"] {
        let ran = site
            .slugline(&["slug", "extract", &format!("{name}.tgz"), "out"])
            .failure(2);
        assert!(ran.stderr.contains("refused"), "{name}: {}", ran.stderr);
        let _ = fs::remove_dir_all(site.path("out"));
        assert!(!site.path("evil").exists());
    }
}

#[test]
fn a_slug_is_built_again_from_its_source() {
    let site = Site::without_server();
    copy_dir(&fixture("inline_shell"), &site.path("source"));
    let build = || {
        site.slugline(&[
            "build",
            "source",
            "--buildpack",
            "inline",
            "-o",
            "source/slug.tgz",
        ])
        .success()
    };
    let slug = || fs::read(site.path("source/slug.tgz")).unwrap();
    build();
    let first = slug();
    // What a build has written into its own source is no source of the next one.
    build();
    assert!(slug() == first);
    let verify = ["slug", "verify", "source/slug.tgz", "--rebuild", "source"];
    let ran = site.slugline(&verify).success();
    assert!(
        ran.stdout.contains("every byte is the same"),
        "{}",
        ran.stdout
    );
    // The first entry that differs is named: here one that has changed, then one that is new.
    fs::write(site.path("source/zzz"), "new").unwrap();
    let ran = site.slugline(&verify).failure(2);
    assert!(ran.stderr.contains("zzz"), "{}", ran.stderr);
    fs::remove_file(site.path("source/zzz")).unwrap();
    let procfile = site.path("source/Procfile");
    let text = fs::read_to_string(&procfile).unwrap_or_default();
    fs::write(&procfile, text + "# changed\n").unwrap();
    let ran = site.slugline(&verify).failure(2);
    assert!(ran.stderr.contains("Procfile"), "{}", ran.stderr);
}

#[test]
fn a_server_s_slug_is_verified_by_its_manifest() {
    let site = Site::new();
    site.app("hello", "nodejs_http").push().success();
    let releases = site.api("GET", "/apps/hello/releases", None).1;
    let releases = releases.as_array().unwrap().clone();
    let id = releases
        .iter()
        .find_map(|release| release["slug"]["id"].as_str());
    let slug = site
        .api("GET", &format!("/apps/hello/slugs/{}", id.unwrap()), None)
        .1;
    let get = |url: &str| {
        let bearer = format!("Bearer {}", site.token());
        let mut answer = agent()
            .get(url)
            .header("Authorization", &bearer)
            .call()
            .unwrap();
        answer
            .body_mut()
            .with_config()
            .limit(1 << 30)
            .read_to_vec()
            .unwrap()
    };
    fs::write(
        site.path("slug.tgz"),
        get(slug["blob"]["url"].as_str().unwrap()),
    )
    .unwrap();
    let manifest = slug["record"]["manifest"].as_str().unwrap();
    let manifest = get(&format!("{}/blobs/{manifest}", site.url()));
    fs::write(site.path("slug.tgz.manifest.json"), manifest).unwrap();
    site.slugline(&["slug", "verify", "slug.tgz"]).success();
    let listed = site
        .slugline(&["slug", "ls", "slug.tgz", "package.json"])
        .success();
    assert!(listed.stdout.contains("package.json"));
}
