//! The environment and the arguments of a dyno's process.

use std::collections::BTreeMap;

use crate::config::ConfigVars;

/// The `PATH` of dynos. Source: facts on Heroku's runtime, §3.4.
pub const RUN_PATH: &str = "/usr/local/bin:/usr/bin:/bin";

/// The environment of a process: config vars over what the platform suggests, and what it insists on
/// over them. `port` is for those that are to listen.
pub fn environment(
    config: &ConfigVars,
    dyno: &str,
    port: Option<&str>,
    own: impl IntoIterator<Item = (String, String)>,
) -> Vec<(String, String)> {
    let mut env = BTreeMap::from([
        ("PATH".to_owned(), RUN_PATH.to_owned()),
        ("PS1".to_owned(), "~ $ ".to_owned()),
    ]);
    env.extend(own);
    let vars = config.iter();
    env.extend(vars.map(|(name, value)| (name.to_owned(), value.to_owned())));
    env.insert("HOME".to_owned(), "/app".to_owned());
    env.insert("DYNO".to_owned(), dyno.to_owned());
    if let Some(port) = port {
        env.insert("PORT".to_owned(), port.to_owned());
    }
    env.into_iter().collect()
}

/// The arguments that run a shell's line as a dyno does.
pub fn login(command: &str) -> Vec<String> {
    ["bash", "--login", "-c", command]
        .map(str::to_owned)
        .to_vec()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn config_vars_win_but_for_what_makes_the_dyno() {
        let mut config = ConfigVars::default();
        for (name, value) in [
            ("PATH", "/app/bin"),
            ("DYNO", "x.9"),
            ("PORT", "1"),
            ("A", "1"),
        ] {
            config.set(name, value).unwrap();
        }
        let own = [("TERM".to_owned(), "dumb".to_owned())];
        let env = environment(&config, "web.1", Some("5000"), own);
        let shown = env.iter().map(|(name, value)| format!("{name}={value}"));
        assert_eq!(
            shown.collect::<Vec<_>>().join(" "),
            "A=1 DYNO=web.1 HOME=/app PATH=/app/bin PORT=5000 PS1=~ $  TERM=dumb"
        );
        // Without a port of its own, a process has what the app has set.
        let env = environment(&config, "worker.1", None, []);
        assert!(env.contains(&("PORT".to_owned(), "1".to_owned())));
    }
}
