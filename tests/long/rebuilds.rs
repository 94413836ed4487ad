//! `slug verify --rebuild` of apps whose versions no lockfile names: with the packages of the slug's
//! record, whatever is the newest by then.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::path::Path;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};
use sha2::{Digest as _, Sha512};

use crate::fixture_app::FixtureApp;
use crate::registry::{Registry, run, wheel};
use crate::site::{Ran, SLUGLINE};

const USING: &str = "Using the versions that the slug's record names";

impl FixtureApp {
    /// Builds it as nobody has before, and gives the digest; the first slug stays where it is.
    fn build_anew(&self, address: &str) -> String {
        let twin = FixtureApp::new_from(&self.site.path("app"));
        twin.build_with(&[("SLUGLINE_NETWORK_ALLOW", address)], &[])
            .success();
        twin.digest()
    }

    fn rebuild(&self, address: &str, arguments: &[&str]) -> Ran {
        let mut verify = self.site.command(Path::new(SLUGLINE));
        verify.current_dir(self.site.path(""));
        verify.args(["slug", "verify", "--rebuild", "app", "slug.tgz"]);
        verify
            .args(arguments)
            .env("SLUGLINE_NETWORK_ALLOW", address);
        Ran::new(verify.output().unwrap())
    }

    fn assert_rebuilt(&self, address: &str, arguments: &[&str]) {
        let again = self.rebuild(address, arguments).success();
        assert!(again.stderr.contains(USING), "{}", again.stderr);
        let same = "was built again from app: every byte is the same";
        assert!(again.stdout.contains(same), "{}", again.stdout);
    }

    /// The rebuild fails and says this.
    fn assert_not_rebuilt(&self, address: &str, words: &[&str]) {
        let failed = self.rebuild(address, &[]).failure(1).stderr;
        for word in words {
            assert!(failed.contains(word), "{word}: {failed}");
        }
    }
}

/// An index of `own-greeting` and `own-words`, which the former needs.
struct Index {
    registry: Registry,
    pages: BTreeMap<String, String>,
}

impl Index {
    fn publish(&mut self, work: &Path, name: &str, version: &str, needs: &[&str]) -> String {
        let text = format!("TEXT = 'Hello from {name} {version}'\n");
        let (file, bytes) = wheel(work, name, version, &text, needs);
        let page = self.pages.entry(name.to_owned()).or_default();
        write!(page, "<a href=\"/{file}\">{file}</a><br>").unwrap();
        let page = format!("<!DOCTYPE html><html><body>{page}</body></html>");
        self.registry.put(format!("/simple/{name}/"), page);
        self.registry.put(format!("/{file}"), bytes);
        format!("/{file}")
    }
}

#[test]
fn python_without_versions() {
    for installer in ["uv", "pip"] {
        let app = FixtureApp::with_installer("python_standard_library");
        let work = app.site.path("work");
        fs::create_dir(&work).unwrap();
        let mut index = Index {
            registry: Registry::start(None, |_| BTreeMap::new()),
            pages: BTreeMap::new(),
        };
        index.publish(&work, "own-greeting", "1.0.0", &["own-words>=1"]);
        let words = index.publish(&work, "own-words", "1.0.0", &[]);
        let address = index.registry.address.clone();
        let requirements = format!("--extra-index-url http://{address}/simple\nown-greeting\n");
        fs::write(app.site.path("app/requirements.txt"), requirements).unwrap();
        let server = fs::read_to_string(app.site.path("app/app.py")).unwrap();
        let server = server
            .replace(
                "import os\n",
                "import os\n\nimport own_greeting, own_words\n",
            )
            .replace(
                "b\"Hello from Slugline\"",
                "(own_greeting.TEXT + own_words.TEXT).encode()",
            );
        fs::write(app.site.path("app/app.py"), server).unwrap();
        let installer = format!("SLUGLINE_PYTHON_INSTALLER={installer}");
        let env = ["--env", &installer];
        let allowed = [("SLUGLINE_NETWORK_ALLOW", &*address)];
        app.build_with(&allowed, &env).success();
        let (first, words_of_first) = (app.digest(), "Hello from own-words 1.0.0");
        let (_, body) = app.answer();
        assert!(body.ends_with(words_of_first), "{body}");

        index.publish(&work, "own-greeting", "1.1.0", &["own-words>=1"]);
        index.publish(&work, "own-words", "1.1.0", &[]);
        if installer.ends_with("uv") {
            assert_ne!(app.build_anew(&address), first);
        }
        app.assert_rebuilt(&address, &env);

        if installer.ends_with("pip") {
            continue;
        }
        // The same version with other files, and then none of that version.
        let (_, other) = wheel(&work, "own-words", "1.0.0", "TEXT = ''\n", &[]);
        index.registry.put(&*words, other);
        app.assert_not_rebuilt(
            &address,
            &[
                "Error: The packages are not those of the slug's record.",
                "own-words 1.0.0 has other files than it had.",
            ],
        );
        index.pages.remove("own-words");
        index.publish(&work, "own-words", "1.1.0", &[]);
        app.assert_not_rebuilt(
            &address,
            &[
                "The slug's record names these versions: ",
                "own-words 1.0.0.",
            ],
        );
    }
}

/// A registry of npm's with packages of one file.
struct NpmRegistry {
    registry: Registry,
    versions: BTreeMap<String, serde_json::Map<String, Value>>,
}

impl NpmRegistry {
    fn new() -> Self {
        Self {
            registry: Registry::start(None, |_| BTreeMap::new()),
            versions: BTreeMap::new(),
        }
    }

    /// Publishes `@own/NAME`, which exports its version and that of what it needs.
    fn publish(&mut self, work: &Path, name: &str, version: &str, needs: &[&str]) {
        let needed = needs.iter().map(|one| (format!("@own/{one}"), "^1.0.0"));
        let dependencies = needed.collect::<BTreeMap<_, _>>();
        let folder = work.join("package");
        fs::create_dir_all(&folder).unwrap();
        let mut manifest = json!({ "name": format!("@own/{name}"), "version": version, "dependencies": dependencies });
        fs::write(folder.join("package.json"), manifest.to_string()).unwrap();
        let others = needs
            .iter()
            .map(|one| format!(" + \" \" + require(\"@own/{one}\")"));
        let others = others.collect::<String>();
        let text = format!("module.exports = \"{name} {version}\"{others};\n");
        fs::write(folder.join("index.js"), text).unwrap();
        run(work, "tar", &["-czf", "package.tgz", "package"]);
        let tarball = fs::read(work.join("package.tgz")).unwrap();
        let digest: [u8; 64] = Sha512::digest(&tarball).into();
        let path = format!("/@own/{name}/-/{name}-{version}.tgz");
        manifest["dist"] = json!({
            "tarball": format!("http://{}{path}", self.registry.address),
            "integrity": format!("sha512-{}", STANDARD.encode(digest)),
        });
        self.registry.put(path, tarball);
        let versions = self.versions.entry(name.to_owned()).or_default();
        versions.insert(version.to_owned(), manifest);
        let document = json!({
            "name": format!("@own/{name}"), "dist-tags": { "latest": version }, "versions": versions,
        });
        for path in [
            format!("/@own%2f{name}"),
            format!("/@own%2F{name}"),
            format!("/@own/{name}"),
        ] {
            self.registry.put(path, document.to_string());
        }
    }
}

/// A build of an app that names ranges alone, then the same with newer packages there.
fn node_without_lockfile(manager: &str, build: bool) {
    let app = FixtureApp::new("nodejs_no_dependencies");
    let work = app.site.path("work");
    fs::create_dir(&work).unwrap();
    let mut npm = NpmRegistry::new();
    npm.publish(&work, "greeting", "1.0.0", &["words"]);
    npm.publish(&work, "words", "1.0.0", &[]);
    npm.publish(&work, "tool", "1.0.0", &["words"]);
    let address = npm.registry.address.clone();
    let mut manifest = json!({
        "name": "hello", "version": "1.0.0", "scripts": { "start": "node server.js" },
        "dependencies": { "@own/greeting": "^1.0.0" }, "devDependencies": { "@own/tool": "^1.0.0" },
    });
    if manager != "npm" {
        manifest["packageManager"] = manager.into();
    }
    if build {
        let build = "node -e 'fs.writeFileSync(`built.txt`, require(`@own/tool`))'";
        manifest["scripts"]["build"] = build.into();
    }
    let write = |name: &str, text: &str| fs::write(app.site.path("app").join(name), text).unwrap();
    write("package.json", &manifest.to_string());
    write(".npmrc", &format!("@own:registry=http://{address}/\n"));
    write(
        ".yarnrc.yml",
        &format!(
            "nodeLinker: node-modules\nunsafeHttpWhitelist: [127.0.0.2]\nnpmScopes:\n  own:\n    npmRegistryServer: \"http://{address}\"\n"
        ),
    );
    let server = fs::read_to_string(app.site.path("app/server.js")).unwrap();
    let server = server.replace("\"Hello from Slugline\"", "require(\"@own/greeting\")");
    write("server.js", &server);

    let allowed = [("SLUGLINE_NETWORK_ALLOW", &*address)];
    app.build_with(&allowed, &[]).success();
    let first = app.digest();
    assert_eq!(app.answer(), (200, "greeting 1.0.0 words 1.0.0".to_owned()));
    let record = fs::read_to_string(app.site.path("slug.tgz.record.json")).unwrap();
    let record = serde_json::from_str::<Value>(&record).unwrap();
    let packages = record["packages"].as_array().unwrap();
    let is_digest = |package: &Value| {
        let digest = package["digest"].as_str();
        digest.is_some_and(|digest| digest.starts_with("sha512"))
    };
    assert_eq!(packages.len(), 2, "{packages:?}");
    assert!(packages.iter().all(is_digest), "{packages:?}");

    for (name, needs) in [
        ("greeting", &["words"][..]),
        ("words", &[]),
        ("tool", &["words"]),
    ] {
        npm.publish(&work, name, "1.1.0", needs);
    }
    app.assert_rebuilt(&address, &[]);
    if !build {
        return;
    }
    assert_ne!(app.build_anew(&address), first);
    npm.registry.remove("/@own/words/-/words-1.0.0.tgz");
    app.assert_not_rebuilt(
        &address,
        &["Unable to install dependencies", "@own/words 1.0.0"],
    );
}

macro_rules! without_lockfile {
    ($($name:ident: $manager:literal),+ $(,)?) => {
        $(
            mod $name {
                #[test]
                fn in_production() {
                    super::node_without_lockfile($manager, false);
                }

                #[test]
                fn with_a_build() {
                    super::node_without_lockfile($manager, true);
                }
            }
        )+
    };
}

without_lockfile! {
    npm: "npm",
    yarn: "yarn@1.22.22",
    berry: "yarn@4.9.2",
    pnpm: "pnpm@10.12.1",
    bun: "bun@1.2.15",
}
