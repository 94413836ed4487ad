//! Each limit of a build: it ends in a failure that names the limit and how to raise it.

use crate::attack::{Attack, Level, levels};
use crate::site::Ran;

/// The failure of an attack that is to run into a limit.
fn ended_at(level: Level, limits: &[(&str, &str)], script: &str) -> String {
    let attack = Attack::new(level);
    let mut command = attack.command(script, &[]);
    command.envs(limits.iter().copied());
    let start = std::time::Instant::now();
    let ran = Ran::new(command.output().unwrap()).failure(1);
    assert!(start.elapsed().as_secs() < 60, "{level:?}: {}", ran.stderr);
    ran.stderr
}

#[test]
fn memory_hog() {
    for level in levels() {
        let said = ended_at(
            *level,
            &[("SLUGLINE_BUILD_MEMORY_BYTES", "200000000")],
            "python3 -c 'import time\nx = []\nwhile True: x.append(bytearray(b\"x\") * 10_000_000); time.sleep(0.1)'",
        );
        assert!(said.contains("used up its memory"), "{level:?}: {said}");
        assert!(
            said.contains("build_memory_bytes: 200000000"),
            "{level:?}: {said}"
        );
    }
}

/// So quick that no look sees it before the kernel refuses it more, or in one piece.
#[test]
fn quick_memory_hogs() {
    for level in levels() {
        for script in [
            "python3 -c 'x = [bytearray(b\"x\") * 10_000_000 for n in range(1000)]'; exit 1",
            "python3 -c 'x = bytearray(100_000_000_000)'",
            "perl -e '$x = \"x\" x 900_000_000; print length $x' || exit 1",
        ] {
            let limit = [("SLUGLINE_BUILD_MEMORY_BYTES", "200000000")];
            let said = ended_at(*level, &limit, script);
            let named = said.contains("build_memory_bytes: 200000000");
            // What is never touched takes no memory, and only a limit on addresses refuses it.
            let untouched = *level == Level::Root && said.contains("MemoryError");
            assert!(named || untouched, "{level:?}, {script}: {said}");
        }
    }
}

#[test]
fn memory_hog_of_many_processes() {
    for level in levels() {
        let said = ended_at(
            *level,
            &[("SLUGLINE_BUILD_MEMORY_BYTES", "300000000")],
            "for n in 1 2 3 4 5 6 7 8; do python3 -c 'import time; x = bytearray(b\"x\") * 60_000_000; time.sleep(20)' & done; wait; exit 1",
        );
        assert!(said.contains("used up its memory"), "{level:?}: {said}");
    }
}

#[test]
fn fork_bomb() {
    for level in levels() {
        let said = ended_at(
            *level,
            &[("SLUGLINE_BUILD_PROCESSES", "100")],
            "bomb() { bomb | bomb & }; bomb 2>/dev/null; sleep 50",
        );
        assert!(said.contains("used up its processes"), "{level:?}: {said}");
        assert!(said.contains("build_processes: 100"), "{level:?}: {said}");
    }
}

#[test]
fn disk_fill() {
    for level in levels() {
        for script in [
            "for n in 1 2 3 4 5 6 7 8 9; do head -c 30000000 /dev/zero >/app/$n; sleep 0.5; done; sleep 20; exit 1",
            "mkdir /tmp/closed && cd /tmp/closed && for n in 1 2 3 4 5; do head -c 30000000 /dev/zero >$n; done; chmod 000 .; sleep 20; exit 1",
            "head -c 200000000 /dev/zero >/app/one-file; exit 1",
            // Beside the directories that are a build's, where a level lets it.
            "cd /home && touch x || cd /tmp; for n in 1 2 3 4 5; do head -c 30000000 /dev/zero >$n; done; sleep 20; exit 1",
        ] {
            let said = ended_at(
                *level,
                &[("SLUGLINE_BUILD_DISK_BYTES", "100000000")],
                script,
            );
            assert!(
                said.contains("used up its disk") && said.contains("build_disk_bytes: 100000000"),
                "{level:?}: {said}"
            );
        }
        let said = ended_at(
            *level,
            &[("SLUGLINE_BUILD_DISK_FILES", "1000")],
            "cd /cache && for n in {1..3000}; do echo >$n; done; sleep 20; exit 1",
        );
        assert!(said.contains("used up its files"), "{level:?}: {said}");
    }
}

#[test]
fn open_files() {
    for level in levels() {
        let said = ended_at(
            *level,
            &[("SLUGLINE_BUILD_OPEN_FILES", "50")],
            "python3 -c 'x = [open(\"/dev/null\") for n in range(100)]'",
        );
        assert!(
            said.contains("those of a program that used up its open files"),
            "{level:?}: {said}"
        );
        assert!(said.contains("build_open_files: 50"), "{level:?}: {said}");
    }
}

/// What a build says of another's limit, or said long before it failed, is not why it failed.
#[test]
fn words_that_are_no_sign_of_a_limit() {
    for level in levels() {
        for script in [
            "echo 'accept: Too many open files in system'; exit 3",
            "echo 'ok 1 - too many open files is reported'; seq 20000; exit 3",
        ] {
            let said = ended_at(*level, &[], script);
            assert!(!said.contains("build_open_files"), "{level:?}: {said}");
        }
    }
}

#[test]
fn size_of_a_file() {
    for level in levels() {
        for script in [
            "python3 -c 'open(\"/app/x\", \"wb\").write(bytes(30_000_000))'; rm /app/x; exit 1",
            "exec head -c 30000000 /dev/zero >/app/x",
        ] {
            let said = ended_at(*level, &[("SLUGLINE_BUILD_FILE_BYTES", "20000000")], script);
            assert!(
                said.contains("used up its size of one file"),
                "{level:?}: {said}"
            );
            assert!(
                said.contains("build_file_bytes: 20000000"),
                "{level:?}: {said}"
            );
        }
    }
}

#[test]
fn wall_time_and_share_of_the_processors() {
    // How much of a second of work is done in a second, and on how many processors.
    let script = "python3 -c '\
import os, time\n\
start = time.monotonic()\n\
while time.monotonic() < start + 1.5: pass\n\
print(\"share\", round(100 * time.process_time() / 1.5), \"cores\", len(os.sched_getaffinity(0)))\n\
try: os.sched_setaffinity(0, range(64)); print(\"widened\")\n\
except OSError: print(\"kept\")'; sleep 100";
    for level in levels() {
        let limits = [
            ("SLUGLINE_BUILD_CPU_PERCENT", "20"),
            ("SLUGLINE_BUILD_TIMEOUT_SECONDS", "12"),
        ];
        let said = ended_at(*level, &limits, script);
        assert!(
            said.contains("Timed out compiling Attack app"),
            "{level:?}: {said}"
        );
        assert!(
            said.contains("build_timeout_seconds: 12"),
            "{level:?}: {said}"
        );
        assert!(said.contains("build_cpu_percent: 20"), "{level:?}: {said}");
        let after = said.split("share ").nth(1).unwrap();
        let mut words = after.split_whitespace();
        let share: u32 = words.next().unwrap().parse().unwrap();
        let cores: usize = words.nth(1).unwrap().parse().unwrap();
        match level {
            // By a control group.
            Level::Root => assert!(share < 60, "{level:?}: {said}"),
            // By whole processors.
            _ => assert!(cores == 1 && said.contains("kept"), "{level:?}: {said}"),
        }
    }
}
