//! Builds that take their time.

use std::fs;
use std::path::PathBuf;
use std::process::Command;
use std::thread::sleep;
use std::time::Duration;

use crate::site::{Ran, Repository, Site, agent};

#[test]
fn a_changed_runtime_says_that_what_it_made_is_discarded() {
    let site = Site::new();
    let app = site.app("hello", "no_language");
    app.write("requirements.txt", "");
    app.commit("Python");
    let said = app.push().success().stderr;
    assert!(said.contains("-----> Saving cache"), "{said}");
    let kept = site.data().join("caches").join(site.app_id("hello"));
    let key = kept.join("current/files/python/key");
    let text = fs::read_to_string(&key).unwrap();
    let version = text.lines().find_map(|line| line.strip_prefix("python "));
    let version = version.unwrap().to_owned();
    let older = text.replace(&format!("python {version}\n"), "python 3.1.4\n");
    fs::write(&key, older).unwrap();
    // What is kept is found by all that it depends on, of which something has to change.
    app.write("requirements.txt", "# None.\n");
    app.commit("A comment");
    let said = app.push().success().stderr;
    assert!(said.contains("-----> Discarding cache since:"), "{said}");
    let line = format!("- The Python version changed from 3.1.4 to {version}");
    assert!(said.contains(&line), "{said}");
}

/// An app whose own `bin/compile` is `script`.
fn app<'a>(site: &'a Site, name: &str, script: &str) -> Repository<'a> {
    let app = site.repository(name, "no_language");
    app.write("bin/detect", "#!/bin/sh\necho Tool\n");
    app.write("bin/compile", &format!("#!/bin/sh\n{script}"));
    app.commit("Tool");
    app.slugline(&["apps", "create", name]).success();
    app.slugline(&["buildpacks:set", "inline"]).success();
    app
}

/// Six thousand files in a hundred directories, restored as an overlay; what a build does with it.
const LARGE: &str = r#"
cd "$1"
if slugline buildpack-tool cache restore large:1 deps/modules; then echo "-----> Restored"
else
  echo "-----> Missing"
  for d in {1..100}; do mkdir -p deps/modules/$d && for n in {1..60}; do echo "$d $n" >deps/modules/$d/$n; done; done
  ln -s 1/1 deps/modules/link && chmod +x deps/modules/2/1
  slugline buildpack-tool cache save large:1 deps/modules || exit 2
fi
grep -o 'overlay /app/deps/modules' /proc/self/mounts
echo "files: $(find deps/modules -type f | wc -l) sum: $(cd deps/modules && find . -type f | sort | xargs cat | sha256sum | cut -c1-12)"
"#;

fn line<'a>(said: &'a str, start: &str) -> &'a str {
    let mut lines = said
        .lines()
        .map(|line| line.trim_start_matches("remote: ").trim_end());
    lines
        .find(|line| line.starts_with(start))
        .unwrap_or_else(|| panic!("{start}: {said}"))
}

fn a_large_snapshot_is_laid_over(site: &Site) {
    let app = app(site, "one", &LARGE.replacen("cd", "#!/bin/bash\ncd", 0));
    let bash = |script: &str| {
        app.write("bin/compile", &format!("#!/bin/bash\n{LARGE}\n{script}\n"));
        app.commit("Script");
    };
    bash("");
    let said = app.push().success().stderr;
    assert!(said.contains("-----> Missing"), "{said}");
    let whole = line(&said, "files: 6000 sum: ").to_owned();
    // All that can be done to a tree is done to it, and then it is looked at by what comes after.
    app.write(
        "bin/release",
        "#!/bin/bash\ncd /app/moved/modules && echo default_process_types: && echo \"  seen: $(cat 5/1 6/1 new/file | xargs) $(ls 3 | wc -l) $(ls 4 | wc -l) $(test -e 7 || echo gone)\"\n",
    );
    bash(
        "cd deps/modules; echo changed >5/1; echo more >>6/1; mkdir new; echo new >new/file; rm 3/1 link\n\
         rm -r 4; mkdir 4; echo again >4/again; rm -r 7; mv 8/1 8/moved; chmod 755 8/2; ln -s 9 link; ln 10/1 10/linked\n\
         mkdir -p 11/closed; chmod 0 11/closed; rm -r 12; echo file >12\n\
         ls -A /mnt/work; touch /mnt/work/x; rmdir /mnt/work; ls -d /app/deps/modules\n\
         for dir in /run/slugline/snapshots/*; do echo evil >$dir/5/1; rm -rf $dir/5 2>/dev/null; touch $dir/new; chmod 777 $dir/5/2; done\n\
         cd /app; mv deps moved",
    );
    let said = app.push().success().stderr;
    assert!(said.contains("-----> Restored"), "{said}");
    assert!(said.contains("overlay /app/deps/modules"), "{said}");
    assert_eq!(line(&said, "files: "), whole);
    assert!(said.contains("cannot touch '/mnt/work/x'"), "{said}");
    let path = "/apps/one/releases/current";
    let slug = site.api("GET", path, None).1["slug"]["id"].clone();
    let slug = slug.as_str().unwrap().to_owned();
    let slug = site.api("GET", &format!("/apps/one/slugs/{slug}"), None).1;
    assert_eq!(
        slug["process_types"]["seen"],
        "changed 6 1 more new 59 1 gone"
    );
    let run = |script: &str| {
        let ran = site.slugline(&["run", "-a", "one", "--", script]).success();
        ran.stdout.trim().to_owned()
    };
    assert_eq!(
        run(
            "cd moved/modules; cat 5/1 6/1 new/file 4/* 12 8/moved; ls 3 7 link 4/1 8/1 2>&1 | grep -c cannot; \
             readlink link; test -x 8/2 && test -x 2/1 && echo executable; ls -d 11/closed; cat 10/linked 9/1; find . -type f | wc -l"
        ),
        "changed\n6 1\nmore\nnew\nagain\nfile\n8 1\n3\n9\nexecutable\n11/closed\n10 1\n9 1\n5823"
    );
    // The next build gets what was saved, to the last byte.
    app.write("bin/release", "#!/bin/sh\n");
    bash(":");
    let said = app.push().success().stderr;
    assert!(said.contains("-----> Restored"), "{said}");
    assert_eq!(line(&said, "files: "), whole);
    let count =
        run("cd deps/modules; cat 5/1; readlink link; find . -type f | wc -l; rm -r 1; ls | wc -l");
    assert_eq!(count, "5 1\n1/1\n6000\n100");
    // The running process's own changes are its own as well, and a copy is a copy.
    app.write(
        "bin/compile",
        &format!(
            "#!/bin/bash\n{}\nmv deps/modules elsewhere; ls elsewhere | wc -l\n",
            LARGE.replace("restore large", "restore --copy large")
        ),
    );
    app.commit("Copy");
    let said = app.push().success().stderr;
    assert!(!said.contains("overlay /app"), "{said}");
    assert_eq!(line(&said, "files: "), whole);
}

#[test]
fn a_large_snapshot_is_an_overlay_that_no_build_changes() {
    a_large_snapshot_is_laid_over(&Site::new());
}

#[test]
fn a_plain_user_s_large_snapshot_is_an_overlay_too() {
    a_large_snapshot_is_laid_over(&Site::of_plain_user());
}

/// Of a tree that is shown as an overlay the kernel says the same build after build: it is not read again.
#[test]
fn a_large_snapshot_is_packed_unread() {
    let site = Site::new();
    let app = app(&site, "one", "");
    let (mut unread, mut members) = (0, 0);
    // Saved, given to the builds' user, known, and unread.
    for code in ["first", "second", "third", "fourth"] {
        app.write("aaa.txt", code);
        app.write("bin/compile", &format!("#!/bin/bash\n{LARGE}\n"));
        app.commit(code);
        app.push().success();
        let log = site.server_log();
        let packed = log.lines().rfind(|line| line.contains(" packed ")).unwrap();
        let count = |name: &str| {
            let mut words = packed.split(' ');
            let count = words.find_map(|word| word.strip_prefix(name)?.strip_prefix('='));
            count.unwrap().parse::<u64>().unwrap()
        };
        (unread, members) = (count("unread"), count("members"));
        // What has changed just now is not known: the tree must be older than that.
        sleep(Duration::from_secs(4));
    }
    // The code itself is new each time.
    assert!(members > 8 && unread > members / 2, "{unread} of {members}");
    let ran = site.slugline(&["run", "-a", "one", "--", "cat aaa.txt deps/modules/99/60"]);
    assert_eq!(ran.success().stdout.trim(), "fourth99 60");
}

/// Debian 13, which is not what the tests run on, with a Python of its own; from Debian's packages.
fn debian(site: &Site) -> PathBuf {
    let tar = site.path("debian-13.tar");
    let mut made = Command::new("mmdebstrap");
    made.args(["--quiet", "--variant=minbase"])
        .arg("--include=python3,python3-venv,ca-certificates")
        .args(["--dpkgopt=path-exclude=/usr/share/doc/*", "trixie"])
        .arg(&tar);
    let made = made.output().expect("apt-get install mmdebstrap");
    Ran::new(made).success();
    tar
}

#[test]
fn an_app_is_built_and_runs_on_a_real_debian() {
    let site = Site::new();
    let tar = debian(&site);
    let tar = tar.to_str().unwrap();
    let digest = site
        .slugline(&["stack", "import", "debian-13", tar])
        .success()
        .stdout;
    let app = site.app("hello", "no_language");
    app.write("requirements.txt", "itsdangerous==2.2.0\n");
    app.write("Procfile", "web: python -m http.server $PORT\n");
    app.write("page.txt", "from another Debian\n");
    app.write(
        "version.py",
        "import platform, sys, itsdangerous\n\
         print(platform.freedesktop_os_release()['VERSION_ID'], '%d.%d' % sys.version_info[:2], sys.prefix, itsdangerous.__name__)\n",
    );
    app.commit("Python");
    app.slugline(&["apps:set", "hello", "--stack", "debian-13"])
        .success();
    let said = app.push().success().stderr;
    for line in [
        "-----> Building on the debian-13 stack",
        "-----> Python app detected",
        "deployed to Slugline",
        "Verifying deploy... done.",
    ] {
        assert!(said.contains(line), "{line}: {said}");
    }
    let slug = site.api("GET", "/apps/hello/releases/current", None).1["slug"]["id"].clone();
    let slug = slug.as_str().unwrap().to_owned();
    let slug = site
        .api("GET", &format!("/apps/hello/slugs/{slug}"), None)
        .1;
    assert_eq!(slug["stack"]["name"], "debian-13");
    assert_eq!(slug["record"]["stack_digest"], digest.trim());
    // A process of it runs on the same root, and so do its dynos.
    let ran = app.slugline(&["run", "-a", "hello", "--", "python version.py"]);
    let ran = ran.success().stdout;
    assert_eq!(ran.trim(), "13 3.13 /app/.heroku/python itsdangerous");
    let page = agent()
        .get(format!("http://127.0.0.1:{}/page.txt", site.router_port()))
        .header("Host", "hello.localhost")
        .call()
        .unwrap();
    let page = page.into_body().read_to_string().unwrap();
    assert_eq!(page, "from another Debian\n");
    // What was kept on the other stack is of no use on this machine's own.
    app.slugline(&["apps:set", "hello", "--stack", "default"])
        .success();
    app.write("page.txt", "from here\n");
    app.commit("Back");
    let said = app.push().success().stderr;
    let line = "-----> Stack changed from debian-13 to ";
    assert!(
        said.contains(line) && said.contains("the build cache is discarded"),
        "{said}"
    );
}
