//! The disk of a build's own, which level 1 has.

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};

use crate::attack::{Attack, Level};
use crate::require_root;
use crate::site::{Ran, SLUGLINE, eventually};

/// Runs a build at level 1 with limits, which must have a disk of its own.
fn build(script: &str, limits: &[(&str, &str)]) -> Ran {
    require_root();
    let attack = Attack::new(Level::Root);
    let mut command = attack.command(script, &[]);
    command.envs(limits.iter().copied());
    let ran = Ran::new(command.output().unwrap());
    assert!(!ran.stderr.contains("no disk of its own"), "{}", ran.stderr);
    assert!(backing_files(attack.site.path("out").as_path()).is_empty());
    ran
}

/// Loop devices whose files lie, or lay, below a directory.
fn backing_files(dir: &Path) -> Vec<String> {
    let devices = fs::read_dir("/sys/block").unwrap().flatten();
    let files = devices
        .filter_map(|device| fs::read_to_string(device.path().join("loop/backing_file")).ok());
    files
        .filter(|file| file.starts_with(dir.to_str().unwrap()))
        .collect()
}

fn number(said: &str, name: &str) -> u64 {
    let line = said.lines().map(str::trim);
    let mut values = line.filter_map(|line| line.strip_prefix(name)?.trim().parse().ok());
    values.next().unwrap_or_else(|| panic!("{name} in {said}"))
}

#[test]
fn a_build_has_a_file_system_as_large_as_it_may_grow() {
    let script = "echo bytes $(df -B1 --output=avail /app | tail -1); echo inodes $(df --output=iavail /app | tail -1); \
         echo devices $(stat -c %d / /app /cache /env /tmp /buildpacks | sort -u | wc -l); \
         echo mounts $(grep -cE ' /(app|cache|tmp) ' /proc/self/mountinfo); ls -d /lost+found /dev/loop*; \
         ln -s x /cache/x && ln /cache/x /app/y && mv /app/y /cache/z && echo linked";
    let limits = [
        ("SLUGLINE_BUILD_DISK_BYTES", "100000000"),
        ("SLUGLINE_BUILD_DISK_FILES", "3000"),
    ];
    let said = build(script, &limits).success().stderr;
    let (bytes, inodes) = (number(&said, "bytes"), number(&said, "inodes"));
    assert!((100_000_000..110_000_000).contains(&bytes), "{said}");
    assert!((3_000..10_000).contains(&inodes), "{said}");
    assert_eq!(number(&said, "devices"), 1, "{said}");
    assert_eq!(number(&said, "mounts"), 0, "{said}");
    assert!(
        said.contains("linked") && !said.contains("lost+found\n"),
        "{said}"
    );
}

#[test]
fn what_fills_it_fails_by_name() {
    let bytes = [("SLUGLINE_BUILD_DISK_BYTES", "100000000")];
    // More at once than a look could notice: the kernel says no.
    let grab = "fallocate -l 90000000 /app/x; fallocate -l 90000000 /cache/y; echo said $?; sleep 20; exit 1";
    let failed = build(grab, &bytes).failure(1).stderr;
    assert!(failed.contains("build_disk_bytes: 100000000"), "{failed}");
    // A program that does not notice is no reason to release what it has left.
    let blind =
        "for n in 1 2 3 4 5; do head -c 30000000 /dev/zero >/app/$n; done 2>/dev/null; exit 0";
    let failed = build(blind, &bytes).failure(1).stderr;
    assert!(failed.contains("used up its disk"), "{failed}");
    let files = [("SLUGLINE_BUILD_DISK_FILES", "1000")];
    let many =
        "mkdir /app/a; cd /app/a; for n in {1..20000}; do : >$n || break; done 2>/dev/null; exit 0";
    let failed = build(many, &files).failure(1).stderr;
    assert!(failed.contains("build_disk_files: 1000"), "{failed}");
}

#[test]
fn a_killed_builder_leaves_no_device() {
    require_root();
    let attack = Attack::new(Level::Root);
    let out = attack.site.path("out");
    let mut builder = attack
        .command("sleep 77", &[])
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    eventually("it has a disk", || backing_files(&out).len() == 1);
    // Its mounts are its own.
    let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap();
    assert!(!mounts.contains(out.to_str().unwrap()), "{mounts}");
    builder.kill().unwrap();
    builder.wait().unwrap();
    eventually("the device is given back", || {
        backing_files(&out).is_empty()
    });
}

/// Mounts that a server's death did not take along, as where somebody else shares them.
#[test]
fn a_server_unmounts_what_another_has_left() {
    require_root();
    let attack = Attack::new(Level::Root);
    let left = attack.site.path("out/data/scratch/run-left/root");
    let image = attack.site.path("image");
    let script = "set -e; truncate -s 20M \"$0\"; mkfs.ext4 -q \"$0\"; mkdir -p \"$1\"; mount -o loop \"$0\" \"$1\"; \
         echo x >\"$1/file\"; \"$2\" serve --listen 127.0.0.1:0 >\"$0.log\" & \
         until grep -q listens \"$0.log\"; do sleep 0.1; done; kill -9 $!; wait";
    let mut command = Command::new("timeout");
    command
        .args(["60", "unshare", "--mount", "bash", "-c", script])
        .args([&image, &left])
        .arg(SLUGLINE)
        .env("SLUGLINE_DATA", attack.site.path("out/data"));
    let ran = Ran::new(command.output().unwrap());
    let run = left.parent().unwrap();
    assert!(!run.exists(), "{} {}", ran.stdout, ran.stderr);
    assert!(
        run.parent().unwrap().exists(),
        "{} {}",
        ran.stdout,
        ran.stderr
    );
}
