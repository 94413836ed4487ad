//! Slugs that bring all they need: they run on a root file system without Python, Node.js, git and
//! compilers, and the demo works on a machine without Python.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

use crate::fixture_app::FixtureApp;
use crate::site::{Ran, SLUGLINE, Site};

/// A root file system of Debian's packages, made once.
fn root(name: &str, packages: &str) -> PathBuf {
    let dir = Path::new(env!("CARGO_TARGET_TMPDIR"));
    let root = dir.join(name);
    if root.exists() {
        return root;
    }
    let new = tempfile::tempdir_in(dir).unwrap();
    let at = new.path().join("root");
    let mut made = Command::new("mmdebstrap");
    made.args(["--quiet", "--variant=minbase"])
        .arg(format!("--include=ca-certificates,{packages}"))
        .args(["--dpkgopt=path-exclude=/usr/share/doc/*", "bookworm"])
        .arg(&at);
    Ran::new(made.output().expect("apt-get install mmdebstrap")).success();
    for program in ["python3", "node", "gcc", "cc", "make"] {
        assert!(!at.join("usr/bin").join(program).exists(), "{program}");
    }
    fs::rename(at, &root).unwrap();
    root
}

/// A data directory with the stack `bare`: Debian's smallest, and PostgreSQL's client library, which
/// Heroku's stacks have, too.
pub fn data() -> &'static Path {
    static DATA: OnceLock<PathBuf> = OnceLock::new();
    DATA.get_or_init(|| {
        let data = Path::new(env!("CARGO_TARGET_TMPDIR")).join("bare-data");
        let root = root("bare-root", "libpq5");
        assert!(!root.join("usr/bin/git").exists());
        let site = Site::without_server();
        let mut import = site.command(Path::new(SLUGLINE));
        import.args(["stack", "import", "bare"]).arg(root);
        import.env("SLUGLINE_DATA", &data);
        Ran::new(import.output().unwrap()).success();
        data
    })
}

/// What a fixture's slug answers on this machine it answers there, too.
pub fn runs_elsewhere(app: &FixtureApp) {
    if app.has_server() {
        let env = [("SLUGLINE_DATA", data().to_str().unwrap())];
        let there = app.answer_with(&["--stack", "bare"], &env);
        assert_eq!(there, app.answer());
    }
}

/// So do those that the other tests build.
#[test]
fn small_slugs_run_there_too() {
    for name in [
        "nodejs_environment",
        "nodejs_mcp",
        "nodejs_no_dependencies",
        "nodejs_nvmrc_against_engines",
        "nodejs_scripts_in_order",
        "nodejs_server_js_alone",
        "python_standard_library",
    ] {
        let app = if name.starts_with("python") {
            FixtureApp::with_installer(name)
        } else {
            FixtureApp::new(name)
        };
        app.build(&[]).success();
        runs_elsewhere(&app);
    }
}

/// The demo, in a root of its own with git and curl, and no Python but the one that a mirror has.
#[test]
fn the_demo_works_on_a_machine_without_python() {
    let site = Site::without_server();
    let own = site.path("imported");
    let mut import = site.command(Path::new(SLUGLINE));
    import.args(["runtime", "import", "python", "3.11", "/usr"]);
    import.env("SLUGLINE_RUNTIME_DIR", &own);
    let imported = Ran::new(import.output().unwrap()).success();
    let tree = own.join("trees");
    let tree = tree.join(imported.stdout.trim().strip_prefix("sha256:").unwrap());
    let mirror = site.path("mirror");
    fs::create_dir(&mirror).unwrap();
    let archive = mirror.join("python.tar.gz");
    let mut tar = site.command(Path::new("tar"));
    tar.arg("-czf").arg(&archive).arg("-C").arg(&tree);
    tar.args(["--transform", "s,^[.],python,", "."]);
    Ran::new(tar.output().unwrap()).success();
    let sum = site.command(Path::new("sha256sum")).arg(&archive).output();
    let sum = Ran::new(sum.unwrap()).success().stdout;
    let sum = sum.split_whitespace().next().unwrap();
    let version = fs::read_dir(own.join("kept")).unwrap();
    let version = version
        .filter_map(|entry| entry.unwrap().file_name().into_string().ok())
        .find_map(|name| Some(name.strip_prefix("python-")?.split('-').next()?.to_owned()))
        .unwrap();
    let inventory = site.path("runtimes/inventory");
    fs::create_dir_all(&inventory).unwrap();
    let list = format!(
        "[[release]]\nversion = \"{version}\"\narch = \"{}\"\n\
         sources = [{{ url = \"https://example.org/dist/python.tar.gz\", sha256 = \"{sum}\" }}]\n",
        std::env::consts::ARCH
    );
    fs::write(inventory.join("python.releases.toml"), list).unwrap();

    let root = root("demo-root", "git,curl");
    let mut demo = site.command(Path::new("bwrap"));
    demo.arg("--bind").arg(&root).arg("/");
    demo.args([
        "--dev-bind",
        "/dev",
        "/dev",
        "--bind",
        "/proc",
        "/proc",
        "--tmpfs",
        "/tmp",
    ]);
    demo.args([
        "--bind",
        "/sys",
        "/sys",
        "--dir",
        "/site",
        "--cap-add",
        "ALL",
    ]);
    demo.args(["--ro-bind", "/etc/resolv.conf", "/etc/resolv.conf"]);
    // What the machine's own trust is, its package manager's settings included.
    for path in ["/etc/ssl/certs", "/etc/hosts"] {
        demo.args(["--ro-bind", path, path]);
    }
    demo.arg("--bind").arg(site.path("")).arg("/site");
    demo.arg("--ro-bind")
        .arg(SLUGLINE)
        .arg("/usr/local/bin/slugline");
    demo.args(["--chdir", "/site", "--die-with-parent"]);
    demo.args(["slugline", "demo"]);
    demo.env("HOME", "/site/home")
        .env("PATH", "/usr/local/bin:/usr/bin:/bin")
        .env("SLUGLINE_RUNTIME_DIR", "/site/runtimes")
        .env(
            "SLUGLINE_RUNTIME_MIRRORS",
            "https://example.org/dist/=file:///site/mirror/",
        )
        .env_remove("SLUGLINE_DATA");
    let said = Ran::new(demo.output().expect("apt-get install bubblewrap")).success();
    for line in [
        "python.tar.gz of example.org",
        "deployed to Slugline",
        "Hello from a slug",
    ] {
        let both = format!("{}{}", said.stdout, said.stderr);
        assert!(both.contains(line), "{line}: {both}");
    }
}
