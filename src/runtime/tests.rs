//! Runtimes of an invented language whose program is a shell script.

use std::cell::RefCell;
use std::io::Write as _;
use std::os::unix::fs::PermissionsExt;

use flate2::Compression;
use flate2::write::GzEncoder;

use std::time::Duration;

use super::*;

const RECIPE: &str = r#"
name = "lang"
title = "Lang"
line_numbers = 2
keep = ["bin/lang{line}", "lib/lang"]
[links]
"bin/lang" = "lang{line}"
[host]
programs = ["/opt/lang/bin/lang{line}", "~/langs/*/bin/lang{line}"]
version = ["--version"]
[lines."1.2"]
end_of_life = "2030-01-31"
[lines."1.3"]
"#;

/// A machine with a home of its own.
struct Fixture {
    dir: tempfile::TempDir,
    /// Addresses that were asked for.
    asked: RefCell<Vec<String>>,
    stop: AtomicBool,
}

impl Fixture {
    fn new() -> Self {
        Self {
            dir: tempfile::tempdir().unwrap(),
            asked: RefCell::default(),
            stop: AtomicBool::default(),
        }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// Installs a version below the home, which says that it is `says`.
    fn install(&self, version: &str, says: &str) -> PathBuf {
        let prefix = self.path("home/langs").join(version);
        let line = version.rsplit_once('.').unwrap().0;
        for dir in ["bin", "lib/lang"] {
            fs::create_dir_all(prefix.join(dir)).unwrap();
        }
        let program = prefix.join(format!("bin/lang{line}"));
        fs::write(&program, format!("#!/bin/sh\necho v{says}\n")).unwrap();
        fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).unwrap();
        fs::write(prefix.join("lib/lang/std"), "std").unwrap();
        prefix
    }

    /// An archive of a version, and the list that names it by an address.
    fn publish(&self, version: &str) -> (PathBuf, Release) {
        let prefix = self.install(version, version);
        let archive = self.path(&format!("lang-{version}.tgz"));
        let file = fs::File::create(&archive).unwrap();
        let mut tar = tar::Builder::new(GzEncoder::new(file, Compression::fast()));
        tar.append_dir_all("lang", &prefix).unwrap();
        tar.into_inner().unwrap().finish().unwrap();
        fs::remove_dir_all(prefix).unwrap();
        let bytes = fs::read(&archive).unwrap();
        let release = Release {
            version: version.into(),
            arch: std::env::consts::ARCH.into(),
            sources: vec![Source::Url {
                url: format!("https://lang.example.org/dist/lang-{version}.tgz"),
                sha256: Digest::of(&bytes).hex(),
            }],
        };
        (archive, release)
    }

    fn runtimes(&self, releases: &[Release], choice: Choice) -> Runtimes {
        let list = write_releases(releases);
        let inventories = [(RECIPE, list.as_str())];
        let home = self.path("home");
        Runtimes::new(
            &self.path("kept"),
            inventories,
            choice,
            "debian-12",
            Some(&home),
        )
        .unwrap()
    }

    fn with_hands<T>(&self, call: impl FnOnce(&Hands<'_>) -> T) -> T {
        let fetch = |url: &str, _: &Path| {
            self.asked.borrow_mut().push(url.to_owned());
            Err(NotFetched {
                reason: "there is no network".to_owned(),
                answered: false,
            })
        };
        call(&Hands {
            fetch: &fetch,
            run: &|_, _| Ok(()),
            stop: &self.stop,
        })
    }

    fn get(&self, runtimes: &Runtimes, version: &str) -> Result<Obtained, Error> {
        self.with_hands(|hands| runtimes.get("lang", version, None, hands))
    }

    fn mirror(&self) -> Choice {
        let mirror = format!(
            "https://lang.example.org/dist/=file://{}/",
            self.dir.path().display()
        );
        Choice {
            mirrors: vec![mirror.parse().unwrap()],
            ..Choice::default()
        }
    }
}

fn versions(runtimes: &Runtimes, stack: Option<OtherStack<'_>>) -> Vec<String> {
    let offers = runtimes.offers("lang", false, stack).unwrap();
    offers.into_iter().map(|offer| offer.version).collect()
}

#[test]
fn a_source_comes_by_way_of_its_mirror_and_is_kept() {
    let fixture = Fixture::new();
    let (archive, release) = fixture.publish("1.2.3");
    let runtimes = fixture.runtimes(&[release], fixture.mirror());
    assert_eq!(versions(&runtimes, None), ["1.2.3"]);
    let obtained = fixture.get(&runtimes, "1.2.3").unwrap();
    assert_eq!(obtained.kept.way, Way::Fetched);
    assert_eq!(obtained.kept.origin, "lang-1.2.3.tgz of lang.example.org");
    assert!(obtained.tree.join("bin/lang1.2").is_file());
    assert_eq!(
        fs::read_link(obtained.tree.join("bin/lang")).unwrap(),
        Path::new("lang1.2")
    );
    fs::remove_file(archive).unwrap();
    let again = fixture.get(&runtimes, "1.2.3").unwrap();
    assert_eq!(again, obtained);
    let offer = &runtimes.offers("lang", false, None).unwrap()[0];
    assert_eq!(offer.end_of_life.as_deref(), Some("2030-01-31"));
}

#[test]
fn the_operator_s_list_goes_over_the_buildpack_s_as_soon_as_it_is_there() {
    let fixture = Fixture::new();
    let (_, release) = fixture.publish("1.2.3");
    let runtimes = fixture.runtimes(&[], fixture.mirror());
    assert_eq!(versions(&runtimes, None), Vec::<String>::new());
    let path = inventory_path(&fixture.path("kept"), "lang");
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(&path, write_releases(&[release])).unwrap();
    assert_eq!(versions(&runtimes, None), ["1.2.3"]);
    fixture.get(&runtimes, "1.2.3").unwrap();
    fs::write(&path, "no list").unwrap();
    let later = fs::metadata(&path).unwrap().modified().unwrap() + Duration::from_secs(5);
    fs::File::open(&path).unwrap().set_modified(later).unwrap();
    let error = runtimes.offers("lang", false, None).unwrap_err();
    assert!(matches!(error, Error::Recipe { .. }), "{error}");
}

#[test]
fn another_archive_than_the_listed_one_is_refused_and_nothing_is_kept() {
    let fixture = Fixture::new();
    let (archive, release) = fixture.publish("1.2.3");
    let mut file = fs::File::options().append(true).open(archive).unwrap();
    file.write_all(b"x").unwrap();
    // Not even what this machine has would do: something is amiss.
    fixture.install("1.2.3", "1.2.3");
    let runtimes = fixture.runtimes(&[release], fixture.mirror());
    let error = fixture.get(&runtimes, "1.2.3").unwrap_err();
    assert!(matches!(error, Error::Digest { .. }), "{error}");
    assert_eq!(runtimes.kept().unwrap(), []);
    assert_eq!(fs::read_dir(fixture.path("kept/new")).unwrap().count(), 0);
}

#[test]
fn a_mirror_may_lack_some_and_have_others() {
    let fixture = Fixture::new();
    let (archive, gone) = fixture.publish("1.3.0");
    fs::remove_file(archive).unwrap();
    let (_, there) = fixture.publish("1.2.3");
    let runtimes = fixture.runtimes(&[gone, there], fixture.mirror());
    let error = fixture.get(&runtimes, "1.3.0").unwrap_err();
    assert!(
        matches!(error, Error::Unreachable { answered: true, .. }),
        "{error}"
    );
    assert_eq!(
        fixture.get(&runtimes, "1.2.3").unwrap().kept.version,
        "1.2.3"
    );
}

#[test]
fn hostile_archives_leave_nothing_outside() {
    let fixture = Fixture::new();
    let archive = fixture.path("lang-1.2.3.tgz");
    let file = fs::File::create(&archive).unwrap();
    let mut tar = tar::Builder::new(GzEncoder::new(file, Compression::fast()));
    let mut header = tar::Header::new_gnu();
    header.set_size(1);
    header.set_mode(0o4755);
    header.as_gnu_mut().unwrap().name[..11].copy_from_slice(b"../../../up");
    header.set_cksum();
    tar.append(&header, &b"x"[..]).unwrap();
    let mut link = tar::Header::new_gnu();
    link.set_entry_type(tar::EntryType::Symlink);
    link.set_size(0);
    tar.append_link(&mut link, "lang", fixture.path("outside"))
        .unwrap();
    tar.into_inner().unwrap().finish().unwrap();
    let sha256 = Digest::of(&fs::read(&archive).unwrap()).hex();
    let release = Release {
        version: "1.2.3".into(),
        arch: std::env::consts::ARCH.into(),
        sources: vec![Source::Url {
            url: "https://lang.example.org/dist/lang-1.2.3.tgz".into(),
            sha256,
        }],
    };
    let runtimes = fixture.runtimes(&[release], fixture.mirror());
    let error = fixture.get(&runtimes, "1.2.3").unwrap_err();
    assert!(matches!(error, Error::Archive { .. }), "{error}");
    assert!(!fixture.path("kept/up").exists() && !fixture.path("up").exists());
}

#[test]
fn what_cannot_be_reached_is_copied_from_this_machine_and_said() {
    let fixture = Fixture::new();
    let (_, release) = fixture.publish("1.2.3");
    fixture.install("1.2.3", "1.2.3");
    fixture.install("1.3.0", "1.3.0");
    // Of a line that nobody knows, and one that is another than it seems.
    fixture.install("0.9.0", "0.9.0");
    let runtimes = fixture.runtimes(&[release], Choice::default());
    assert_eq!(versions(&runtimes, None), ["1.2.3", "1.3.0"]);
    let obtained = fixture.get(&runtimes, "1.2.3").unwrap();
    assert_eq!(obtained.kept.way, Way::Host);
    let note = "Not fetched: lang-1.2.3.tgz of lang.example.org (there is no network)";
    assert_eq!(obtained.notes, [note]);
    // It is not asked for again at once.
    fs::remove_dir_all(fixture.path("kept/kept")).unwrap();
    assert_eq!(fixture.get(&runtimes, "1.2.3").unwrap().notes, [note]);
    assert_eq!(fixture.asked.borrow().len(), 1);
    // A program that has changed is copied again.
    let before = fixture.get(&runtimes, "1.3.0").unwrap();
    fixture.install("1.3.0", "1.3.0 ");
    fs::write(fixture.path("home/langs/1.3.0/lib/lang/std"), "new").unwrap();
    let after = fixture.get(&runtimes, "1.3.0").unwrap();
    assert_ne!(before.kept.tree, after.kept.tree);
    // The build of before can be repeated no more, and that of now can.
    let stack = None;
    let repeat = |digest| {
        fixture.with_hands(|hands| runtimes.get_tree("lang", "1.3.0", digest, stack, hands))
    };
    assert_eq!(repeat(after.kept.tree).unwrap().kept, after.kept);
    assert!(matches!(
        repeat(before.kept.tree),
        Err(Error::OtherTree { .. })
    ));
}

#[test]
fn the_machine_s_own_are_not_for_other_stacks_nor_against_the_operator() {
    let fixture = Fixture::new();
    let (_, release) = fixture.publish("1.2.3");
    fixture.install("1.3.0", "1.3.0");
    let runtimes = fixture.runtimes(std::slice::from_ref(&release), Choice::default());
    fixture.get(&runtimes, "1.3.0").unwrap();
    let root = fixture.path("stack");
    let stack = Some(OtherStack {
        name: "small-1",
        root: &root,
        ask: &|argv| (argv[0] == "/opt/lang/bin/lang1.2").then(|| "1.2.9\n".to_owned()),
    });
    assert_eq!(versions(&runtimes, stack), ["1.2.3"]);
    let got = fixture.with_hands(|hands| runtimes.get("lang", "1.3.0", stack, hands));
    assert!(matches!(got, Err(Error::Nowhere { .. })), "{got:?}");
    // But what it has itself is; no link of it is followed.
    let prefix = fixture.path("stack/opt/lang");
    fs::create_dir_all(prefix.parent().unwrap()).unwrap();
    fs::rename(fixture.install("1.2.9", "never run here"), &prefix).unwrap();
    fs::write(fixture.path("secret"), "secret").unwrap();
    std::os::unix::fs::symlink(fixture.path("secret"), prefix.join("lib/lang/link")).unwrap();
    assert_eq!(versions(&runtimes, stack), ["1.2.3", "1.2.9"]);
    let got = fixture.with_hands(|hands| runtimes.get("lang", "1.2.9", stack, hands));
    let got = got.unwrap();
    assert_eq!(
        got.kept.origin,
        "/opt/lang/bin/lang1.2 of the stack small-1"
    );
    assert!(got.tree.join("lib/lang/std").exists() && !got.tree.join("lib/lang/link").exists());
    let got = fixture.get(&runtimes, "1.2.9");
    assert!(matches!(got, Err(Error::Nowhere { .. })), "{got:?}");
    let choice = Choice {
        without_host: true,
        offline: true,
        ..Choice::default()
    };
    let runtimes = fixture.runtimes(&[release], choice);
    assert_eq!(versions(&runtimes, None), Vec::<String>::new());
    let error = fixture.get(&runtimes, "1.2.3").unwrap_err();
    assert!(matches!(error, Error::Offline { .. }), "{error}");
    let error = fixture.get(&runtimes, "1.3.0").unwrap_err();
    assert!(matches!(error, Error::Nowhere { .. }), "{error}");
    assert!(fixture.asked.borrow().is_empty());
}

#[test]
fn an_import_is_what_it_says_and_stays() {
    let fixture = Fixture::new();
    let prefix = fixture.install("1.2.4", "1.2.4");
    let away = fixture.path("unpacked");
    fs::rename(prefix, &away).unwrap();
    let choice = Choice {
        offline: true,
        ..Choice::default()
    };
    let runtimes = fixture.runtimes(&[], choice);
    let import = |version: &str, path: &Path| {
        fixture.with_hands(|hands| runtimes.import("lang", version, path, hands))
    };
    let error = import("1.3", &away).unwrap_err();
    assert!(
        matches!(error, Error::NotThere { found: None, .. }),
        "{error}"
    );
    let error = import("1.2.5", &away).unwrap_err();
    assert!(matches!(&error, Error::NotThere { found: Some(found), .. } if found == "1.2.4"));
    let imported = import("1.2", &away).unwrap();
    assert_eq!(imported.kept.version, "1.2.4");
    fs::remove_dir_all(&away).unwrap();
    assert_eq!(fixture.get(&runtimes, "1.2.4").unwrap(), imported);
    assert_eq!(versions(&runtimes, None), ["1.2.4"]);
    // Nothing is old enough; later it stays for what it is, and a copy goes.
    fixture.install("1.3.0", "1.3.0");
    let copied = fixture.get(&runtimes, "1.3.0").unwrap();
    assert_eq!(runtimes.sweep(SystemTime::UNIX_EPOCH).unwrap(), []);
    let later = fs::metadata(fixture.dir.path())
        .unwrap()
        .modified()
        .unwrap();
    let gone = runtimes.sweep(later + Duration::from_secs(60)).unwrap();
    assert_eq!(gone, std::slice::from_ref(&copied.kept));
    assert!(!copied.tree.exists() && imported.tree.exists());
}

#[test]
fn names_and_versions_of_builds_lead_nowhere_else() {
    let fixture = Fixture::new();
    let runtimes = fixture.runtimes(&[], Choice::default());
    for version in ["", "../1.2", "1.2/3", "1\n", &"1".repeat(100)] {
        let got = fixture.get(&runtimes, version);
        assert!(matches!(got, Err(Error::Nowhere { .. })), "{version:?}");
    }
    let stack = None;
    let got = fixture.with_hands(|hands| runtimes.get("../lang", "1.2.3", stack, hands));
    assert!(matches!(got, Err(Error::Unknown { .. })));
    assert!(!fixture.path("kept").exists());
}

#[test]
fn the_embedded_inventories_are_in_order() {
    let inventories = crate::buildpack::builtin_runtimes();
    assert!(!inventories.is_empty());
    for (recipe, releases) in inventories {
        let recipe = Recipe::parse(recipe).unwrap();
        let releases = parse_releases(releases).unwrap();
        assert!(!releases.is_empty(), "{}", recipe.name);
        let completions = recipe
            .lines
            .values()
            .filter_map(|line| line.completed_by.as_ref());
        let sources = releases.iter().flat_map(|release| &release.sources);
        for source in sources.chain(completions) {
            match source {
                Source::Url { url, sha256 } => {
                    assert!(url.starts_with("https://"), "{url}");
                    assert!(
                        format!("sha256:{sha256}").parse::<Digest>().is_ok(),
                        "{url}"
                    );
                }
                Source::Npm { npm, integrity } => {
                    assert!(npm.contains('@'), "{npm}");
                    assert!(integrity.starts_with("sha512-"), "{npm}");
                }
            }
        }
        for release in &releases {
            assert!(
                recipe.line(&release.version).is_some(),
                "{} has no line",
                release.version
            );
        }
    }
}

#[test]
fn mirrors_are_of_addresses() {
    for text in [
        "",
        "https://a/",
        "a=b",
        "https://a/=/srv",
        "ftp://a=https://b",
    ] {
        assert!(text.parse::<Mirror>().is_err(), "{text}");
    }
    let mirror: Mirror = "https://a/dist/=http://b/".parse().unwrap();
    assert_eq!(
        mirror.rewritten("https://a/dist/x"),
        Some("http://b/x".into())
    );
    assert_eq!(mirror.rewritten("https://c/dist/x"), None);
}

#[test]
fn what_builds_hand_over_is_what_was_listed() {
    let machine = Fixture::new();
    let make = |runtimes: &Runtimes, text: &str| {
        let work = runtimes.work().unwrap();
        let tree = work.path().join("tree");
        fs::create_dir_all(tree.join("bin")).unwrap();
        fs::write(tree.join("bin/tool"), text).unwrap();
        (work, tree)
    };
    let plain = machine.runtimes(&[], Choice::default());
    let (_work, tree) = make(&plain, "tool");
    let digest = tree::settle(&tree).unwrap().digest;
    let arch = std::env::consts::ARCH;
    let list = format!(
        "[[tree]]\nname = \"tool-1\"\narch = \"{arch}\"\ndigest = \"{digest}\"\n\
         [[tree]]\nname = \"tool-2\"\narch = \"none\"\ndigest = \"{digest}\"\n"
    );
    let runtimes = machine.runtimes(&[], Choice::default());
    let runtimes = runtimes.with_handed([list.as_str()]).unwrap();
    assert_eq!(runtimes.handed("tool-1").unwrap(), None);
    let (_work, other) = make(&runtimes, "another tool");
    let refused = runtimes.hand_over("tool-1", &other).unwrap_err();
    assert!(matches!(refused, Error::Digest { .. }), "{refused}");
    assert_eq!(runtimes.handed("tool-1").unwrap(), None);
    // Of this machine's architecture there is no such thing, and of any name but those.
    for name in ["tool-2", "tool-3", "../tool-1", ""] {
        assert!(matches!(runtimes.handed(name), Err(Error::Unknown { .. })));
        let refused = runtimes.hand_over(name, &tree).unwrap_err();
        assert!(matches!(refused, Error::Unknown { .. }), "{name}");
    }
    for _ in 0..2 {
        let (_work, tree) = make(&runtimes, "tool");
        assert_eq!(runtimes.hand_over("tool-1", &tree).unwrap(), digest);
        assert_eq!(runtimes.handed("tool-1").unwrap(), Some(digest.hex()));
    }
    let kept = runtimes.trees().unwrap().join(digest.hex());
    assert_eq!(fs::read_to_string(kept.join("bin/tool")).unwrap(), "tool");
    // It goes when it has not been used for long enough.
    runtimes.sweep(SystemTime::UNIX_EPOCH).unwrap();
    assert!(kept.is_dir());
    let used = fs::metadata(&kept).unwrap().modified().unwrap();
    runtimes.sweep(used + Duration::from_secs(9)).unwrap();
    assert_eq!(runtimes.handed("tool-1").unwrap(), None);
}

/// What built-in buildpacks list has one of each architecture that they fetch for.
#[test]
fn the_lists_of_the_buildpacks_are_read() {
    let lists = crate::buildpack::builtin_handed();
    assert!(!lists.is_empty());
    for list in lists {
        let all = handed::parse_handed(list).unwrap();
        for one in &all {
            for arch in ["x86_64", "aarch64"] {
                let has = |other: &&handed::Handed| other.name == one.name && other.arch == arch;
                assert_eq!(all.iter().filter(has).count(), 1, "{} {arch}", one.name);
            }
        }
    }
}
