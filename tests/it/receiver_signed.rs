//! Signed pushes: `git push --signed` with SSH keys and GnuPG.

use std::fs;
use std::path::{Path, PathBuf};

use crate::site::{Ran, Repository, Site};

fn ssh_key(site: &Site, name: &str) -> PathBuf {
    let path = site.path(name);
    let made = site
        .command(Path::new("ssh-keygen"))
        .args(["-q", "-t", "ed25519", "-N", "", "-C", name, "-f"])
        .arg(&path)
        .output()
        .expect("ssh-keygen is installed: apt-get install openssh-client");
    Ran::new(made).success();
    path
}

fn signed(site: &Site, app: &Repository<'_>, key: &Path, arguments: &[&str]) -> Ran {
    let url = format!("{}/hello.git", site.url());
    let key = format!("user.signingkey={}", key.display());
    let sign = ["-c", "gpg.format=ssh", "-c", &key, "push", "--signed"];
    site.git_in(
        &app.dir,
        &[&sign[..], arguments, &[&url, "main:topic"]].concat(),
    )
}

#[test]
fn signed_pushes_are_verified_and_recorded() {
    let mut site = Site::without_server();
    let (ada, eve) = (ssh_key(&site, "ada"), ssh_key(&site, "eve"));
    let public = fs::read_to_string(ada.with_extension("pub")).unwrap();
    let signers = site.path("signers");
    fs::write(&signers, format!("ada@example.com {public}")).unwrap();
    site.try_start(
        &[],
        &[("SLUGLINE_ALLOWED_SIGNERS", signers.to_str().unwrap())],
    );
    let app = site.app("hello", "nodejs_http");
    let list = || site.api("GET", "/apps/hello/signed-pushes", None).1;

    signed(&site, &app, &ada, &["-o", "trace"]).success();
    let pushes = list();
    assert_eq!(pushes[0]["signer"], "ada@example.com");
    assert_eq!(pushes[0]["user"]["email"], "admin");
    let certificate = pushes[0]["certificate"].as_str().unwrap();
    assert!(certificate.starts_with("certificate version 0.1\npusher "));
    for line in [
        format!(" {} refs/heads/topic\n", app.head()),
        "push-option trace\n".to_owned(),
        "BEGIN SSH SIGNATURE".to_owned(),
    ] {
        assert!(certificate.contains(&line), "{certificate}");
    }
    // Somebody else's signature is refused, and nothing has moved; no signature is no matter.
    app.write("note", "one\n");
    app.commit("One");
    let refused = signed(&site, &app, &eve, &[]).failure(1);
    assert!(
        refused.stderr.contains("none of the server's signers"),
        "{}",
        refused.stderr
    );
    assert_eq!(list().as_array().unwrap().len(), 1);
    let url = format!("{}/hello.git", site.url());
    site.git_in(&app.dir, &["push", "--quiet", &url, "main:topic"])
        .success();
    assert_eq!(list().as_array().unwrap().len(), 1);
}

#[test]
fn a_keyring_of_gnupg_verifies() {
    let mut site = Site::without_server();
    // A socket's path must be short.
    let home = tempfile::Builder::new().prefix("gpg").tempdir().unwrap();
    let gpg = |arguments: &[&str]| {
        let mut command = site.command(Path::new("gpg"));
        command.env("GNUPGHOME", home.path()).args(arguments);
        let ran = command
            .output()
            .expect("gpg is installed: apt-get install gpg gpg-agent");
        Ran::new(ran).success()
    };
    let no_pass = ["--batch", "--passphrase", "", "--quick-generate-key"];
    let made = [&no_pass[..], &["Ada <ada@example.com>", "ed25519", "sign"]].concat();
    gpg(&made);
    let ran_home = home.path().to_str().unwrap().to_owned();
    site.try_start(&[], &[("SLUGLINE_GPG_HOME", &ran_home)]);
    let app = site.app("hello", "nodejs_http");
    let url = format!("{}/hello.git", site.url());
    let mut command = site.git_command_in(
        &app.dir,
        &[
            "-c",
            "user.signingkey=ada@example.com",
            "push",
            "--signed",
            &url,
            "main:topic",
        ],
    );
    let ran = command.env("GNUPGHOME", home.path()).output().unwrap();
    Ran::new(ran).success();
    let pushes = site.api("GET", "/apps/hello/signed-pushes", None).1;
    assert_eq!(pushes[0]["signer"], "Ada <ada@example.com>");
    let ended = site
        .command(Path::new("gpgconf"))
        .env("GNUPGHOME", home.path())
        .args(["--kill", "all"])
        .status();
    assert!(ended.unwrap().success());
}

#[test]
fn without_signers_they_are_recorded_alone() {
    let mut site = Site::without_server();
    let key = ssh_key(&site, "ada");
    site.try_start(&[], &[("SLUGLINE_SIGNED_PUSHES", "true")]);
    let app = site.app("hello", "nodejs_http");
    signed(&site, &app, &key, &[]).success();
    let pushes = site.api("GET", "/apps/hello/signed-pushes", None).1;
    assert_eq!(pushes[0]["signer"], serde_json::Value::Null);
    // A certificate is for one app and for some minutes.
    let certificate = pushes[0]["certificate"].as_str().unwrap().to_owned();
    let command = certificate
        .lines()
        .find(|line| line.ends_with("refs/heads/topic"))
        .unwrap();
    let (id, _) = command[41..].split_once(' ').unwrap();
    let replay = |certificate: &str| {
        let mut body = crate::wire::pkt(format!("push-cert\0{}", crate::wire::CAPABILITIES));
        for line in certificate.split_inclusive('\n') {
            body.extend(crate::wire::pkt(line));
        }
        body.extend(crate::wire::pkt("push-cert-end\n"));
        body.extend(b"0000");
        body
    };
    site.slugline(&["apps", "create", "other"]).success();
    let answer = crate::wire::post_to(&site, "other", &replay(&certificate));
    assert!(answer.text().contains("nonce"), "{}", answer.text());
    let changed = certificate.replace(id, &"1".repeat(40));
    let answer = crate::wire::post_to(&site, "hello", &replay(&changed));
    assert_ne!(answer.text().find("refs/heads/topic"), None);
    assert!(!answer.text().contains("ok refs/heads/topic"));
    // A server that has not offered it takes none.
    let plain = Site::new();
    plain.slugline(&["apps", "create", "hello"]).success();
    let answer = crate::wire::post_to(&plain, "hello", &replay(&certificate));
    assert!(answer.text().contains("push-cert"), "{}", answer.text());
}
