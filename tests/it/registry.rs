//! Releases as images: skopeo, a real client, copies them out of a running server.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;
use slugline::digest::Digest;

use crate::site::{Ran, Site, agent};

/// A site with one app of two releases.
fn released(arguments: &[&str]) -> Site {
    let site = Site::with(arguments);
    {
        let app = site.app("hello", "nodejs_http");
        app.push().success();
        app.write("second.txt", "of the second release");
        app.commit("Second");
        app.push().success();
    }
    site
}

/// Copies `APP:TAG` to a directory in OCI's layout.
fn copy(site: &Site, reference: &str, name: &str) -> (Ran, PathBuf) {
    let host = site.url().strip_prefix("http://").unwrap();
    let dir = site.path(name);
    let mut command = site.command(Path::new("skopeo"));
    command
        .args(["copy", "--insecure-policy", "--src-tls-verify=false"])
        .arg(format!("--src-creds=any:{}", site.token()))
        .arg(format!("docker://{host}/{reference}"))
        .arg(format!("oci:{}:image", dir.display()));
    let ran = command.output().expect("apt-get install skopeo");
    (Ran::new(ran), dir)
}

fn json(path: &Path) -> Value {
    serde_json::from_slice(&fs::read(path).unwrap()).unwrap()
}

/// A blob of a layout, checked.
fn blob(layout: &Path, digest: &Value) -> PathBuf {
    let digest = digest.as_str().unwrap();
    let path = layout.join("blobs").join(digest.replace(':', "/"));
    let bytes = fs::read(&path).unwrap();
    assert_eq!(Digest::of(&bytes).to_string(), digest);
    path
}

fn manifest_in(layout: &Path) -> Value {
    let index = json(&layout.join("index.json"));
    json(&blob(layout, &index["manifests"][0]["digest"]))
}

#[test]
fn skopeo_copies_a_release_and_it_unpacks() {
    let site = released(&[]);
    let (ran, layout) = copy(&site, "hello:v3", "layout");
    ran.success();
    let manifest = manifest_in(&layout);
    let layers = manifest["layers"].as_array().unwrap();
    assert_eq!(layers.len(), 1);
    let slug = blob(&layout, &layers[0]["digest"]);
    // It is the slug that the API names, and what it says it holds.
    let releases = site.api("GET", "/apps/hello/releases", None).1;
    let release = releases
        .as_array()
        .unwrap()
        .iter()
        .find(|release| release["version"] == 3)
        .unwrap()
        .clone();
    let path = format!(
        "/apps/hello/slugs/{}",
        release["slug"]["id"].as_str().unwrap()
    );
    let named = site.api("GET", &path, None).1;
    let checksum = named["checksum"].as_str().unwrap().to_lowercase();
    assert_eq!(layers[0]["digest"], checksum.as_str());
    let config = json(&blob(&layout, &manifest["config"]["digest"]));
    assert_eq!(config["os"], "linux");
    let inspected = site.slugline(&["slug", "inspect", "--json", slug.to_str().unwrap()]);
    let inspected: Value = serde_json::from_str(&inspected.success().stdout).unwrap();
    assert_eq!(config["rootfs"]["diff_ids"][0], inspected["diff_id"]);
    let root = site.path("root");
    fs::create_dir(&root).unwrap();
    let untar = Command::new("tar")
        .arg("xzf")
        .arg(&slug)
        .arg("-C")
        .arg(&root)
        .status();
    assert!(untar.unwrap().success());
    assert_eq!(
        fs::read_to_string(root.join("app/second.txt")).unwrap(),
        "of the second release"
    );
    // The one before has not got it, and the current one is the latest.
    let (ran, before) = copy(&site, "hello:v2", "before");
    ran.success();
    assert_ne!(manifest_in(&before)["layers"], manifest["layers"]);
    let (ran, latest) = copy(&site, "hello:latest", "latest");
    ran.success();
    assert_eq!(manifest_in(&latest), manifest);
}

fn manifest_of(site: &Site, reference: &str) -> (u16, Value) {
    site.api("GET", &format!("/v2/hello/manifests/{reference}"), None)
}

#[test]
fn a_stack_s_layer_is_below_the_slug() {
    // A tar of a directory with a file.
    let files = tempfile::tempdir().unwrap();
    fs::create_dir(files.path().join("etc")).unwrap();
    fs::write(files.path().join("etc/os-release"), "ID=test\n").unwrap();
    let layer = files.path().join("stack.tar.gz");
    let tar = Command::new("tar")
        .arg("czf")
        .arg(&layer)
        .arg("-C")
        .arg(files.path())
        .arg("etc")
        .status();
    assert!(tar.unwrap().success());
    let site = released(&["--stack-layer", layer.to_str().unwrap()]);
    let (ran, layout) = copy(&site, "hello:latest", "layout");
    ran.success();
    let layers = manifest_in(&layout)["layers"].as_array().unwrap().clone();
    assert_eq!(layers.len(), 2);
    let stack = fs::read(blob(&layout, &layers[0]["digest"])).unwrap();
    assert!(stack == fs::read(&layer).unwrap());
}

#[test]
fn the_registry_s_own_answers() {
    let site = released(&[]);
    let (status, tags) = site.api("GET", "/v2/hello/tags/list", None);
    assert_eq!(status, 200);
    assert_eq!(
        tags,
        serde_json::json!({ "name": "hello", "tags": ["v2", "v3", "latest"] })
    );
    let (_, found) = manifest_of(&site, "v3");
    let layer = found["layers"][0]["digest"].as_str().unwrap().to_owned();
    let size = found["layers"][0]["size"].as_u64().unwrap();
    let text = found.to_string();
    assert_eq!(
        manifest_of(&site, &Digest::of(text.as_bytes()).to_string()).1,
        found
    );
    for (reference, code) in [
        ("v1", "MANIFEST_UNKNOWN"),
        ("v9", "MANIFEST_UNKNOWN"),
        ("../x", "NAME_UNKNOWN"),
    ] {
        let (status, answer) = manifest_of(&site, reference);
        assert_eq!(
            (status, answer["errors"][0]["code"].as_str()),
            (404, Some(code))
        );
    }
    let (status, _) = site.api("GET", "/v2/other/manifests/v1", None);
    assert_eq!(status, 404);
    let (status, _) = site.api("PUT", "/v2/hello/manifests/v3", None);
    assert_eq!(status, 405);

    let url = format!("{}/v2/hello/blobs/{layer}", site.url());
    let bearer = format!("Bearer {}", site.token());
    let get = |range: &str| {
        let request = agent().get(&url).header("Authorization", &bearer);
        request.header("Range", range).call().unwrap()
    };
    let whole = agent().get(&url).header("Authorization", &bearer).call();
    let whole = whole
        .unwrap()
        .body_mut()
        .with_config()
        .limit(1 << 30)
        .read_to_vec()
        .unwrap();
    assert_eq!(
        (whole.len() as u64, Digest::of(&whole).to_string()),
        (size, layer.clone())
    );
    let mut part = get("bytes=100-199");
    assert_eq!(part.status(), 206);
    let said = part.headers()["content-range"].to_str().unwrap().to_owned();
    assert_eq!(said, format!("bytes 100-199/{size}"));
    assert!(
        part.body_mut()
            .with_config()
            .limit(1 << 30)
            .read_to_vec()
            .unwrap()
            == whole[100..200]
    );
    let head = agent()
        .head(&url)
        .header("Authorization", &bearer)
        .call()
        .unwrap();
    assert_eq!(head.headers()["content-length"], size.to_string().as_str());
    assert_eq!(head.headers()["docker-content-digest"], layer.as_str());
    assert_eq!(get(&format!("bytes={size}-")).status(), 416);
    // Nobody else's blob, and nobody without a token.
    let (status, _) = site.api(
        "GET",
        &format!("/v2/hello/blobs/{}", Digest::of(b"x")),
        None,
    );
    assert_eq!(status, 404);
    let refused = agent().get(format!("{}/v2/", site.url())).call().unwrap();
    assert_eq!(refused.status(), 401);
    let asked = refused.headers()["www-authenticate"].to_str().unwrap();
    assert!(asked.starts_with("Basic "), "{asked}");
}
