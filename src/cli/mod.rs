//! The command line: `slugline COMMAND`, one file a command.
//!
//! In: the process's arguments, environment and work tree. Out: what a command says, its data on
//! stdout and its remarks on stderr, and an exit code: 0 done, 1 the app's fault, 2 the caller's,
//! 3 the platform's. Heroku's colon forms are the same commands: `config:set` is `config set`.
//!
//! Only here is the environment read and the terminal written, by [`environment`] and [`print`].

mod answers;
mod app_choice;
mod apps;
pub mod build;
pub mod buildpack_tool;
mod buildpacks;
mod builds;
pub mod client;
mod config;
mod demo;
mod doctor;
mod domains;
mod drains;
pub mod environment;
mod gc;
mod git;
mod git_credential;
mod interrupt;
mod language_tool;
mod logs;
pub(crate) mod machine;
mod maintenance;
mod outputs;
mod pins;
mod print;
mod ps;
mod releases;
mod report;
mod rollback;
pub mod run;
pub mod runtime;
mod runtime_tool;
mod serve;
mod server_url;
pub mod slug;
mod stack;
mod table;
#[cfg(test)]
mod testing;
mod token;

use std::ffi::OsString;
use std::process::ExitCode;

use clap::{CommandFactory, Parser, Subcommand};

use environment::Environment;

/// Slugline: git push in, a slug out, a release from it.
#[derive(Debug, Parser)]
#[command(
    name = "slugline",
    version,
    propagate_version = true,
    infer_subcommands = false
)]
#[command(arg_required_else_help = true, after_help = AFTER_HELP)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

const AFTER_HELP: &str = "\
Heroku's forms work too: `slugline config:set A=1` is `slugline config set A=1`.

Environment of the commands that call a server:
  SLUGLINE_URL    the server [default: http://127.0.0.1:7007]
  SLUGLINE_TOKEN  the token to call it with [default: the file admin-token of the data directory]
  SLUGLINE_DATA   the data directory of a server on this machine
  SLUGLINE_APP    the app, where no --app is given";

#[derive(Debug, Subcommand)]
enum Command {
    /// List, make, show and destroy apps
    Apps(apps::Args),
    /// Make an app; the same as `apps create`
    Create(apps::CreateArgs),
    /// Destroy an app; the same as `apps destroy`
    Destroy(apps::DestroyArgs),
    /// Show and change an app's config vars
    Config(config::Args),
    /// List and show an app's releases
    Releases(releases::Args),
    /// Go back to an earlier release
    Rollback(rollback::Args),
    /// List an app's builds, follow their output, cancel them, purge the cache
    Builds(builds::Args),
    /// Ask the server something, from inside of a build
    #[command(name = "buildpack-tool")]
    BuildpackTool(buildpack_tool::Args),
    /// Show an app's dynos, scale, restart and stop them
    Ps(ps::Args),
    /// List, add and remove the host names of an app
    Domains(domains::Args),
    /// Let the router answer in an app's place
    Maintenance(maintenance::Args),
    /// Show an app's log
    Logs(logs::Args),
    /// List and change where an app's log goes besides
    Drains(drains::Args),
    /// Show and change an app's buildpacks
    Buildpacks(buildpacks::Args),
    /// List, make and revoke the tokens of a server
    Token(token::Args),
    /// Answer git's questions for a user and password
    #[command(name = "git-credential")]
    GitCredential(git_credential::Args),
    /// Have the server remove what nobody needs any more
    Gc(gc::Args),
    /// Serve git pushes and the Platform API
    Serve(serve::Args),
    /// Build a directory or an archive into a slug
    Build(build::Args),
    /// Run a process of a slug or an app
    Run(run::Args),
    /// Look into a slug
    Slug(slug::Args),
    /// List and change what the server keeps whatever becomes of its app
    Pins(pins::Args),
    /// Import, list and remove the root file systems that apps are built on
    Stack(stack::Args),
    /// List, fetch, import and remove language runtimes
    Runtime(runtime::Args),
    /// Show the way from a push to a running app
    Demo(demo::Args),
    /// Check what this machine lacks for builds
    Doctor(doctor::Args),
}

impl Command {
    fn run(&self) -> anyhow::Result<ExitCode> {
        let environment = Environment::read;
        match self {
            Self::Apps(args) => apps::run(args, &environment()),
            Self::Create(args) => apps::create(args, &environment()),
            Self::Destroy(args) => apps::destroy(args, &environment()),
            Self::Config(args) => config::run(args, &environment()),
            Self::Releases(args) => releases::run(args, &environment()),
            Self::Rollback(args) => rollback::run(args, &environment()),
            Self::Builds(args) => builds::run(args, &environment()),
            Self::BuildpackTool(args) => buildpack_tool::run(args),
            Self::Buildpacks(args) => buildpacks::run(args, &environment()),
            Self::Ps(args) => ps::run(args, &environment()),
            Self::Domains(args) => domains::run(args, &environment()),
            Self::Maintenance(args) => maintenance::run(args, &environment()),
            Self::Logs(args) => logs::run(args, &environment()),
            Self::Drains(args) => drains::run(args, &environment()),
            Self::Token(args) => token::run(args, &environment()),
            Self::GitCredential(args) => git_credential::run(args, &environment()),
            Self::Gc(args) => gc::run(args, &environment()),
            Self::Serve(args) => serve::run(args),
            Self::Build(args) => build::run(args),
            Self::Run(args) => run::run(args),
            Self::Slug(args) => slug::run(args),
            Self::Pins(args) => pins::run(args, &environment()),
            Self::Stack(args) => stack::run(args, &environment()),
            Self::Runtime(args) => runtime::run(args, &environment()),
            Self::Demo(args) => demo::run(args),
            Self::Doctor(args) => doctor::run(args),
        }
    }
}

/// Carries out the command that the process was started with.
pub fn main() -> ExitCode {
    let cli = match Cli::try_parse_from(without_colon(std::env::args_os())) {
        Ok(cli) => cli,
        Err(usage) => {
            // A reader that has left has no use for the usage.
            let _ = usage.print();
            return u8::try_from(usage.exit_code()).map_or(ExitCode::FAILURE, ExitCode::from);
        }
    };
    cli.command
        .run()
        .unwrap_or_else(|error| report::report(&error))
}

/// Splits a first argument of Heroku's form, `config:set` or `builds:cache:purge`, as long as what
/// is before a colon is a command with commands of its own.
fn without_colon(args: impl Iterator<Item = OsString>) -> Vec<OsString> {
    let mut args: Vec<OsString> = args.collect();
    let Some(first) = args.get(1).and_then(|first| first.to_str()) else {
        return args;
    };
    let cli = Cli::command();
    let (mut words, mut rest, mut group) = (Vec::new(), first, &cli);
    while let Some((word, after)) = rest.split_once(':') {
        let inner = group.find_subcommand(word);
        let Some(inner) = inner.filter(|inner| inner.has_subcommands()) else {
            break;
        };
        words.push(OsString::from(word));
        (rest, group) = (after, inner);
    }
    words.push(OsString::from(rest));
    args.splice(1..=1, words);
    args
}

#[cfg(test)]
mod tests {
    use super::*;

    fn split(line: &str) -> String {
        let args = line.split(' ').map(OsString::from);
        let args = without_colon(args).into_iter();
        args.map(|arg| arg.into_string().unwrap())
            .collect::<Vec<_>>()
            .join(" ")
    }

    fn parse(line: &str) -> Result<Command, clap::Error> {
        let args = line.split(' ').map(OsString::from);
        Cli::try_parse_from(without_colon(args)).map(|cli| cli.command)
    }

    #[test]
    fn the_definition_holds_together() {
        Cli::command().debug_assert();
    }

    #[test]
    fn colon_forms_are_split_once_and_only_first() {
        for (line, expected) in [
            ("slugline config:set A=b:c", "slugline config set A=b:c"),
            ("slugline apps:create x", "slugline apps create x"),
            ("slugline slug:verify f", "slugline slug verify f"),
            ("slugline builds:a:b", "slugline builds a:b"),
            ("slugline builds:cache:purge", "slugline builds cache purge"),
            ("slugline config set:x", "slugline config set:x"),
            ("slugline rollback:x", "slugline rollback:x"),
            ("slugline nothing:x", "slugline nothing:x"),
            ("slugline", "slugline"),
        ] {
            assert_eq!(split(line), expected);
        }
    }

    #[test]
    fn groups_list_by_themselves_and_take_the_options_of_list() {
        for line in [
            "apps",
            "apps --json",
            "apps list --json",
            "apps info hello --json",
            "apps:info -a hello",
            "apps:destroy hello --confirm hello",
            "create",
            "create hello",
            "destroy -a hello",
            "config",
            "config -a hello --shell",
            "config list --json",
            "config:get A -a hello",
            "config:set -a hello A=1 B=2",
            "config:unset A B",
            "releases -n 3",
            "releases list --json",
            "releases:info v3",
            "rollback v3 -a hello",
            "rollback",
            "builds",
            "builds output",
            "builds:cancel 4",
            "builds:cache:purge -a hello",
            "builds cache purge",
            "buildpacks",
            "buildpacks -a hello",
            "buildpacks list --json",
            "buildpacks:set heroku/lang -i 2",
            "buildpacks:add https://example.com/b#v1 --index 1",
            "buildpacks:remove lang",
            "buildpacks:remove -i 1",
            "buildpacks:clear",
            "buildpack-tool cache save npm:1 node_modules",
            "buildpack-tool cache restore npm:1 node_modules",
            "apps set hello --build-dir separate",
            "apps:set -a hello --root services/api",
            "apps:set -a hello --stack heroku-24 --stack-env heroku-24",
            "stack",
            "stack list --json",
            "stack:import small rootfs.tar",
            "stack remove small",
            "runtime",
            "runtime list python --json",
            "runtime:fetch node 22",
            "runtime import python 3.13 /opt/python/3.13",
            "runtime gc --grace-hours 1",
            "runtime update node --out node.releases.toml",
            "buildpack-tool runtime get python 3.13.0",
            "buildpack-tool runtime show node 22.1.0 .heroku/node/bin --part bin",
            "token",
            "ps",
            "ps -a hello --json",
            "ps:scale web=2 worker+1 -a hello",
            "ps:restart web.1",
            "domains",
            "domains -a hello --json",
            "domains:add www.example.com -a hello",
            "domains:remove *.example.com",
            "maintenance",
            "maintenance:on -a hello",
            "apps set hello --rollback-on-crash",
            "apps set hello --rollback-on-crash false",
            "ps:kill web",
            "drains:add syslog://logs.example.com:514 -a hello",
            "drains remove d.1",
            "logs -a hello -n 20 --tail --source app --dyno web.1",
            "token create laptop",
            "token revoke laptop",
            "gc",
            "gc --json",
            "git-credential get",
            "git-credential --url http://x:1 --data /d store",
        ] {
            let parsed = parse(&format!("slugline {line}"));
            assert!(parsed.is_ok(), "{line}: {}", parsed.unwrap_err());
        }
    }

    #[test]
    fn what_cannot_be_meant_is_a_usage_error() {
        for line in [
            "config:nothing",
            "config -a Bad_Name",
            "config --json --shell",
            "apps destroy",
            "apps destroy hello -a hello",
            "config set",
            "buildpacks set",
            "buildpacks set x -i 0",
            "buildpacks remove",
            "buildpack-tool cache",
            "buildpack-tool cache save ../x\u{1} y",
            "buildpacks remove x -i 1",
            "apps set hello",
            "apps set hello --build-dir elsewhere",
            "builds cache",
            "rollback x",
            "ps scale web",
            "ps stop",
            "logs --source other",
            "token create",
            "git-credential",
            "apps --json create",
        ] {
            let error = parse(&format!("slugline {line}")).unwrap_err();
            assert_eq!(error.exit_code(), 2, "{line}");
        }
    }
}
