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
    let checks: [(&str, Check); 4] = [
        ("stack", stack),
        ("sandbox", sandbox),
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
    let sandbox = machine::machine(&machine::settings(None, [])?)?.sandbox;
    let level = sandbox.level()?;
    sandbox.probe(work.path())?;
    let mut text = level.to_string();
    for (what, by) in sandbox.enforced() {
        write!(text, "\n           {what:<12} {by}")?;
    }
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
