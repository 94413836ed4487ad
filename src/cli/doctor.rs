//! `slugline doctor`: what this machine can do, what is missing, and the remedy.

use std::fmt::Write;
use std::fs;
use std::process::{Command, ExitCode};

use anyhow::Result;

use super::build::Work;
use super::environment::{self, Environment};
use super::{machine, print};
use crate::failure::explain;
use crate::output::Output;
use crate::platform::data::DataDir;
use crate::sandbox::Outcome;

/// Checks this machine.
#[derive(Debug, clap::Args)]
pub struct Args {}

/// Says what it found.
type Check = fn() -> Result<String>;

/// Runs the command; the exit code is 3 where builds cannot run.
///
/// # Errors
/// Standard output is closed.
pub fn run(_args: &Args) -> Result<ExitCode> {
    let checks: [(&str, Check); 5] = [
        ("stack", stack),
        ("sandbox", sandbox),
        ("attacks", attacks),
        ("git", git),
        ("data directory", data),
    ];
    let mut healthy = true;
    for (name, check) in checks {
        match check() {
            Ok(found) => print::print(format!("ok       {name}: {found}\n"))?,
            Err(error) => {
                healthy = false;
                let mut block = format!("missing  {name}\n").into_bytes();
                Output::new(&mut block).failure(&explain(&error))?;
                print::print(block)?;
            }
        }
    }
    Ok(if healthy {
        ExitCode::SUCCESS
    } else {
        ExitCode::from(3)
    })
}

fn stack() -> Result<String> {
    Ok(format!(
        "{} on {}",
        machine::settings(None, [])?.stack,
        std::env::consts::ARCH
    ))
}

fn sandbox() -> Result<String> {
    let work = Work::create()?;
    let sandbox = machine::build_sandbox(&machine::settings(None, [])?)?;
    sandbox.probe_for_builds(work.path())?;
    sandbox.prepare_disks(work.path())?;
    let mut text = sandbox.level()?.to_string();
    for (what, by) in sandbox.enforced() {
        write!(text, "\n           {what:<12} {by}")?;
    }
    Ok(text)
}

/// What becomes of attacks, for any level: an operator may be about to choose another.
fn attacks() -> Result<String> {
    let sandbox = machine::build_sandbox(&machine::settings(None, [])?)?;
    let mut text = format!("what becomes of an attack\n           {:<48}", "at level");
    text.push_str("1         2         3");
    for attack in sandbox.attacks() {
        write!(text, "\n           {:<48}", attack.name)?;
        let words = attack.outcomes.map(Outcome::word);
        write!(text, "{:<10}{:<10}{}", words[0], words[1], words[2])?;
    }
    text.push_str(
        "\n           At level 3 apps are only looked at; level 0 denies nothing of this.",
    );
    Ok(text)
}

fn git() -> Result<String> {
    let output = Command::new(environment::git()?)
        .arg("--version")
        .output()?;
    Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
}

fn data() -> Result<String> {
    let environment = Environment::read();
    let path = environment.data_dir()?;
    let found = match fs::metadata(path) {
        // A server that is running holds it, and that is well.
        Ok(_) => {
            DataDir::open(path).map_or_else(|error| error.to_string(), |_| "can be used".to_owned())
        }
        Err(_) => "not made yet; slugline serve makes it".to_owned(),
    };
    Ok(format!("{}: {found}", path.display()))
}
