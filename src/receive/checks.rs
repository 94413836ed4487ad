//! Which commands of a push can be done, before any of them is: the repository's state and the
//! rules of a platform that deploys from a branch.

use std::collections::HashSet;
use std::path::Path;

use gix::ObjectId;

use super::refs::Refs;
use super::{Command, Error, Request, Status};

/// The branches that are deployed. Source: Heroku, "Deploying with Git".
pub const BRANCHES: [&str; 2] = ["refs/heads/main", "refs/heads/master"];

/// The command that starts a build, if one does: to create or move `main` or `master`.
///
/// Of a push that [`check`] has passed there is at most one commit to build.
#[must_use]
pub fn to_build(commands: &[Command]) -> Option<&Command> {
    commands.iter().find(|command| deploys(command))
}

fn deploys(command: &Command) -> bool {
    command.new.is_some() && BRANCHES.contains(&command.name.as_str())
}

/// Says of each command whether it can be done, in their order.
///
/// With `atomic`, all are refused where one is. Moving a branch back or aside is allowed, as on
/// Heroku.
///
/// # Errors
/// The machine's fault: the refs cannot be read.
pub fn check(repo_dir: &Path, request: &Request) -> Result<Vec<Status>, Error> {
    let refs = Refs::of(repo_dir);
    let mut statuses = Vec::with_capacity(request.commands.len());
    for command in &request.commands {
        let status = match check_policy(command) {
            Ok(()) => check_state(&refs, command)?,
            refused => refused,
        };
        statuses.push(status);
    }
    check_together(request, &mut statuses);
    if request.atomic && statuses.iter().any(Result::is_err) {
        for status in statuses.iter_mut().filter(|status| status.is_ok()) {
            *status = Err("atomic push failure".to_owned());
        }
    }
    Ok(statuses)
}

/// The commits that the push's branches name at present: those who push mostly build on them.
///
/// # Errors
/// The machine's fault: the refs cannot be read.
pub(super) fn present_commits(
    repo_dir: &Path,
    request: &Request,
) -> Result<HashSet<ObjectId>, Error> {
    let refs = Refs::of(repo_dir);
    let branches = request.commands.iter().filter(|command| {
        // What the client says of it may be anything.
        command.old.is_some() && command.name.starts_with("refs/heads/")
    });
    let present = branches.filter_map(|command| refs.current(&command.name).transpose());
    present.collect()
}

fn check_policy(command: &Command) -> Status {
    let name = &command.name;
    if !name.starts_with("refs/heads/") && !name.starts_with("refs/tags/") {
        return Err("only branches and tags can be pushed".to_owned());
    }
    // Where such a name is passed to a command of git, it would be an option.
    if name
        .splitn(3, '/')
        .nth(2)
        .is_some_and(|short| short.starts_with('-'))
    {
        return Err("the name cannot start with a dash".to_owned());
    }
    if name == "refs/heads/HEAD" {
        return Err("a branch cannot be called HEAD".to_owned());
    }
    if command.new.is_none() && BRANCHES.contains(&name.as_str()) {
        let short = name.trim_start_matches("refs/heads/");
        return Err(format!(
            "refusing to delete {short}: the app is deployed from it"
        ));
    }
    Ok(())
}

/// Compares one command with the refs as they are.
fn check_state(refs: &Refs<'_>, command: &Command) -> Result<Status, Error> {
    let current = refs.current(&command.name)?;
    if current != command.old {
        let stale = match (current, command.old) {
            (Some(_), None) => "reference already exists",
            (None, Some(_)) if command.new.is_none() => "no such reference",
            _ => "stale info: the reference has moved; fetch first",
        };
        return Ok(Err(stale.to_owned()));
    }
    // To delete what is not there is done already, as it is for git; unless another is in its place.
    if current.is_none()
        && let Some(other) = refs.in_the_way(&command.name)?
    {
        return Ok(Err(format!(
            "cannot exist beside {other}; delete that first"
        )));
    }
    Ok(Ok(()))
}

/// Refuses commands that cannot stand beside an earlier one of the same push.
fn check_together(request: &Request, statuses: &mut [Status]) {
    let mut made: Vec<&str> = Vec::new();
    let mut build: Option<ObjectId> = None;
    for (command, status) in request.commands.iter().zip(statuses) {
        // All at once, a name cannot make place for another.
        if status.is_err() || command.new.is_none() && !request.atomic {
            continue;
        }
        let name = command.name.as_str();
        let below = |name: &str, dir: &str| {
            name.strip_prefix(dir)
                .is_some_and(|rest| rest.starts_with('/'))
        };
        if let Some(other) = made
            .iter()
            .find(|other| below(name, other) || below(other, name))
        {
            *status = Err(format!("cannot exist beside {other}"));
            continue;
        }
        if let Some(new) = command.new
            && deploys(command)
        {
            if build.is_some_and(|first| first != new) {
                *status =
                    Err("main and master name different commits; push one of them".to_owned());
                continue;
            }
            build = Some(new);
        }
        made.push(name);
    }
}
