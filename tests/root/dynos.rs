//! Dynos where the server is root: their share of the processors, and networks of their own.

use std::fs;
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;

use crate::attack::{Attack, Level};
use crate::network::on_a_host;
use crate::require_root;
use crate::site::{Ran, Site, eventually, fixture};

#[test]
fn dynos_that_are_connected_directly_reach_the_world_and_no_neighbour() {
    require_root();
    let attack = Attack::new(Level::Root);
    let app = attack.site.path("hello");
    crate::site::copy_dir(&fixture("inline_dynos"), &app);
    let script = attack.site.path("direct_dynos.sh");
    fs::write(&script, include_str!("direct_dynos.sh")).unwrap();
    let mut command = attack.site.command("sh".as_ref());
    command.arg(&script).arg(attack.binary()).arg(&app);
    let ran = on_a_host(&attack, &command).output().unwrap();
    let log = fs::read_to_string(app.join("server.log")).unwrap_or_default();
    let said = Ran::new(ran);
    assert_eq!(said.code, Some(0), "{said:?}\n{log}");
    let said = said.stdout;
    let answer = |app: &str, address: &str| {
        let line = said
            .lines()
            .find_map(|line| line.strip_prefix(&format!("{app} {address} ")));
        line.unwrap_or_else(|| panic!("{app} {address}: {said}"))
            .to_owned()
    };
    for address in [
        "203.0.113.2:80",
        "name.example:80",
        "10.8.8.8:80",
        "203.0.113.1:5432",
    ] {
        assert_eq!(answer("one", address), "connected", "{address}: {said}");
    }
    let denied = said
        .lines()
        .filter(|line| line.starts_with("one 1") || line.starts_with("one 203.0.113.1"));
    let denied =
        denied.filter(|line| !line.starts_with("one 10.8.8.8:80 ") && !line.contains(":5432 "));
    let mut count = 0;
    for line in denied {
        let why = line.rsplit(' ').next().unwrap();
        assert!(
            ["TimeoutError", "ConnectionRefusedError", "OSError"].contains(&why),
            "{line}: {said}"
        );
        count += 1;
    }
    assert_eq!(count, 12 + 25, "{said}");
    // At its own address an app reaches itself, at that of no other; and no gateway.
    let own = said
        .lines()
        .filter(|line| line.starts_with("two 198.18.") && line.ends_with(" connected"));
    assert_eq!(own.count(), 1, "{said}");
    let told = |what: &str| {
        said.lines()
            .find_map(|line| line.strip_prefix(what))
            .map(str::to_owned)
    };
    assert_eq!(
        told("tables while they run: ").as_deref(),
        Some("3"),
        "{said}"
    );
    assert_eq!(told("tables after them: ").as_deref(), Some("0"), "{said}");
}

#[test]
fn a_plain_user_s_dynos_are_not_connected_directly() {
    require_root();
    let mut site = Site::of_plain_user();
    site.stop(Signal::SIGTERM);
    assert!(!site.try_start(&[], &[("SLUGLINE_DYNO_NETWORK", "direct")]));
    let said = site.server_log();
    assert!(
        said.contains("it takes root") && said.contains("dyno_network"),
        "{said}"
    );
}

/// A process and all that it has started.
fn family(process: u32) -> Vec<u32> {
    let mut found = vec![process];
    for task in fs::read_dir(format!("/proc/{process}/task"))
        .into_iter()
        .flatten()
    {
        let path = task.unwrap().path().join("children");
        let children = fs::read_to_string(path).unwrap_or_default();
        let children = children.split_whitespace().map(|id| id.parse().unwrap());
        found.extend(children.flat_map(family));
    }
    found
}

/// User and system time of a process, in clock ticks.
fn ticks(process: u32) -> u64 {
    let stat = fs::read_to_string(format!("/proc/{process}/stat")).unwrap();
    let fields = stat.rsplit_once(')').unwrap().1.split_whitespace();
    let times = fields
        .skip(11)
        .take(2)
        .map(|field| field.parse::<u64>().unwrap());
    times.sum()
}

/// The share of a processor that its group lets a process have, in percent.
fn percent_of_group(process: u32) -> Option<u64> {
    let groups = fs::read_to_string(format!("/proc/{process}/cgroup")).unwrap();
    let number = |text: String| text.trim().parse::<u64>().ok();
    groups.lines().find_map(|line| {
        let (controllers, place) = line.split_once(':')?.1.split_once(':')?;
        let place = place.trim_start_matches('/');
        if controllers.is_empty() {
            let max = fs::read_to_string(format!("/sys/fs/cgroup/{place}/cpu.max")).ok()?;
            let (quota, period) = max.split_once(' ')?;
            return Some(quota.parse::<u64>().ok()? * 100 / number(period.to_owned())?);
        }
        controllers
            .split(',')
            .find(|controller| *controller == "cpu")?;
        let of = |file: &str| {
            number(fs::read_to_string(format!("/sys/fs/cgroup/cpu/{place}/{file}")).ok()?)
        };
        Some(of("cpu.cfs_quota_us")? * 100 / of("cpu.cfs_period_us")?)
    })
}

#[test]
fn a_size_has_its_share_of_the_processors() {
    require_root();
    let site = Site::with_env(&[("SLUGLINE_DYNO_SIZES", "{slow: {cpu_percent: 25}}")]);
    let app = site.app("busy", "inline_dynos");
    app.slugline(&["buildpacks", "set", "inline"]).success();
    app.write(
        "Procfile",
        "spin: exec -a spinning bash -c 'while :; do :; done'\n",
    );
    app.commit("Spin");
    app.push().success();
    let spinning = || {
        let is_it = |process: &u32| {
            let line = fs::read(format!("/proc/{process}/cmdline")).unwrap_or_default();
            line.starts_with(b"spinning\0")
        };
        family(site.server_id()).into_iter().find(is_it)
    };
    app.slugline(&["ps:scale", "spin=1:slow"]).success();
    eventually("its process", || spinning().is_some());
    let slow = spinning().unwrap();
    assert_eq!(percent_of_group(slow), Some(25));
    let (start, before) = (Instant::now(), ticks(slow));
    std::thread::sleep(Duration::from_secs(2));
    let used = ticks(slow) - before;
    let percent = used * 100_000 / 100 / u64::try_from(start.elapsed().as_millis()).unwrap();
    // What a neighbour leaves it may be less; more than its share it does not get.
    assert!((1..=35).contains(&percent), "{percent} % of a core");
    // Another size has another share, or none of its own.
    app.slugline(&["ps:scale", "spin=1:standard-1x"]).success();
    eventually("the other size", || {
        spinning().is_some_and(|process| process != slow)
    });
    assert_eq!(percent_of_group(spinning().unwrap()), None);
}
